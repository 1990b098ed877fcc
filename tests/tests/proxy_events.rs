// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! V4L2 events of a proxied node: when they come, and what is in them.

mod common;

use std::time::Duration;

use common::proxy::Both;
use frontend::WireEvent;
use nix::errno::Errno;
use protocol::wire::event::EventEvent;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{Control, EventCtrl, EventSubscription, QueryCtrl};
use v4l2r::bindings;
use zerocopy::FromBytes;

/// Long enough to say that nothing comes.
const QUIET: Duration = Duration::from_millis(100);

const CTRL: u32 = bindings::V4L2_EVENT_CTRL;
const SOURCE_CHANGE: u32 = bindings::V4L2_EVENT_SOURCE_CHANGE;
const BRIGHTNESS: u32 = bindings::V4L2_CID_BRIGHTNESS;

fn subscription(type_: u32, id: u32, flags: u32) -> EventSubscription {
    EventSubscription {
        type_,
        id,
        flags,
        ..EventSubscription::default()
    }
}

#[track_caller]
fn next(both: &mut Both) -> Box<EventEvent> {
    match both.pair.event() {
        WireEvent::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

fn control(event: &EventEvent) -> EventCtrl {
    EventCtrl::read_from_prefix(&event.event.u).unwrap().0
}

fn subscribe(both: &mut Both, type_: u32, id: u32, flags: u32) -> Result<(), Errno> {
    let session = both.session;
    let mut wanted = subscription(type_, id, flags);
    both.pair
        .ioctl(session, ioctl::SUBSCRIBE_EVENT, &mut wanted)
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn controls_of_others() {
    let mut both = Both::open("VIVID_CAP");
    let query = QueryCtrl {
        id: BRIGHTNESS,
        ..QueryCtrl::default()
    };
    let query = both.same(ioctl::QUERYCTRL, &query).unwrap();
    let mut set = Control {
        id: BRIGHTNESS,
        value: 77,
    };
    both.host.call(ioctl::S_CTRL, &mut set).unwrap();
    subscribe(
        &mut both,
        CTRL,
        BRIGHTNESS,
        bindings::V4L2_EVENT_SUB_FL_SEND_INITIAL,
    )
    .unwrap();
    // Before the answer to SUBSCRIBE_EVENT: nobody had to wait.
    let first = both.pair.poll_event().expect("the initial event is late");
    let WireEvent::Event(first) = first else {
        panic!("{first:?}")
    };
    assert_eq!((first.event.type_, first.event.id), (CTRL, BRIGHTNESS));
    assert_eq!(control(&first).value, 77);
    assert_eq!(
        (control(&first).minimum, control(&first).maximum),
        (query.minimum, query.maximum)
    );
    for value in [1, 2, 3] {
        set.value = value;
        both.host.call(ioctl::S_CTRL, &mut set).unwrap();
        let event = next(&mut both);
        assert_eq!(control(&event).value, i64::from(value));
        assert_ne!(event.event.timestamp.tv_sec, 0);
    }
    // One's own changes are told only if one asks for it, and then before the answer.
    set.value = 9;
    let session = both.session;
    both.pair
        .ioctl(session, ioctl::S_CTRL, &mut set.clone())
        .unwrap();
    assert!(both.pair.wait_event(QUIET).is_none());
    let flags = bindings::V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK;
    let mut gone = subscription(CTRL, BRIGHTNESS, 0);
    both.pair
        .ioctl(session, ioctl::UNSUBSCRIBE_EVENT, &mut gone)
        .unwrap();
    subscribe(&mut both, CTRL, BRIGHTNESS, flags).unwrap();
    set.value = 10;
    both.pair
        .ioctl(session, ioctl::S_CTRL, &mut set.clone())
        .unwrap();
    let event = both.pair.poll_event();
    assert!(
        matches!(event, Some(WireEvent::Event(_))),
        "not before the answer: {event:?}"
    );
    both.pair
        .ioctl(session, ioctl::UNSUBSCRIBE_EVENT, &mut gone)
        .unwrap();
    set.value = 128;
    both.host.call(ioctl::S_CTRL, &mut set).unwrap();
    assert!(
        both.pair.wait_event(QUIET).is_none(),
        "an event that nobody wants"
    );
    both.works();
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn subscriptions_as_on_the_host() {
    for name in [
        "VIVID_CAP",
        "VIVID_OUT",
        "VIVID_RADIO_RX",
        "VIVID_SDR",
        "VIVID_TOUCH",
        "VICODEC_ENC",
        "VICODEC_DEC",
    ] {
        let mut both = Both::open(name);
        for type_ in (0..8).chain([0x0800_0000, u32::MAX]) {
            for id in [0, 1, BRIGHTNESS, u32::MAX] {
                let wanted = subscription(type_, id, 0);
                let _ = both.same(ioctl::SUBSCRIBE_EVENT, &wanted);
                let _ = both.same(ioctl::UNSUBSCRIBE_EVENT, &wanted);
            }
        }
        let all = subscription(bindings::V4L2_EVENT_ALL, 0, 0);
        let _ = both.same(ioctl::UNSUBSCRIBE_EVENT, &all);
        both.works();
    }
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn another_source() {
    let mut both = Both::open("VIVID_CAP");
    let session = both.session;
    // HDMI: an input whose timings are somebody's else.
    let input = (0..8u32).find(|input| {
        both.host
            .call(ioctl::S_INPUT, &mut input.clone())
            .is_ok_and(|()| both.host.bytes(ioctl::G_DV_TIMINGS, &mut [0; 132]).is_ok())
    });
    let mut input = input.expect("no input has timings");
    both.pair
        .ioctl(session, ioctl::S_INPUT, &mut input)
        .unwrap();
    subscribe(&mut both, SOURCE_CHANGE, input, 0).unwrap();
    let set = |choice: &str| {
        let control = format!("dv_timings_signal_mode={choice}");
        common::proxy::v4l2_ctl(&common::proxy::node("VIVID_CAP"), &["-c", &control]);
    };
    // No signal, then the current timings.
    for choice in ["1", "0"] {
        set(choice);
        let event = next(&mut both);
        assert_eq!((event.event.type_, event.event.id), (SOURCE_CHANGE, input));
        let changes = u32::from_ne_bytes(*event.event.u.first_chunk().unwrap());
        assert_eq!(changes, bindings::V4L2_EVENT_SRC_CH_RESOLUTION);
    }
    both.pair.ioctl(session, ioctl::S_INPUT, &mut 0u32).unwrap();
    both.works();
}

/// The host's kernel takes any ID with EOS and SOURCE_CHANGE, and keeps a list.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn subscriptions_are_bounded() {
    let mut both = Both::open("VICODEC_ENC");
    let (eos, all) = (2, 0);
    let end = (0..4096).find(|id| subscribe(&mut both, eos, *id, 0).is_err());
    let end = end.expect("as many as one likes");
    assert_eq!(subscribe(&mut both, eos, end, 0), Err(Errno::ENOMEM));
    assert_eq!(subscribe(&mut both, eos, 0, 0), Ok(()), "the same again");
    let session = both.session;
    let mut gone = subscription(all, 0, 0);
    both.pair
        .ioctl(session, ioctl::UNSUBSCRIBE_EVENT, &mut gone)
        .unwrap();
    assert_eq!(subscribe(&mut both, eos, end, 0), Ok(()));
    both.works();
}
