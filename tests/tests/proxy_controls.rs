// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Controls of all kinds through the proxy: what they are, what they hold, what setting them does,
//! on both sides.

mod common;

use common::proxy::Both;
use frontend::Pages;
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{
    CTRL_TYPE_BITMASK as BITMASK, CTRL_TYPE_BOOLEAN as BOOLEAN, CTRL_TYPE_BUTTON as BUTTON,
    CTRL_TYPE_CTRL_CLASS as CLASS, CTRL_TYPE_INTEGER as INTEGER,
    CTRL_TYPE_INTEGER_MENU as INTEGER_MENU, CTRL_TYPE_INTEGER64 as INTEGER64,
    CTRL_TYPE_MENU as MENU, CTRL_TYPE_STRING as STRING, CTRL_TYPE_U8 as U8, CTRL_TYPE_U16 as U16,
    CTRL_TYPE_U32 as U32, Control, EventSubscription, ExtControl, ExtControls, QueryCtrl,
    QueryExtCtrl, QueryMenu,
};
use v4l2r::bindings;
use virtio_v4l2d::config::Limits;

const NODES: [&str; 7] = [
    "VIVID_CAP",
    "VIVID_OUT",
    "VIVID_RADIO_RX",
    "VIVID_RADIO_TX",
    "VIVID_SDR",
    "VICODEC_ENC",
    "VICODEC_DEC",
];

const NEXT: u32 = bindings::V4L2_CTRL_FLAG_NEXT_CTRL | bindings::V4L2_CTRL_FLAG_NEXT_COMPOUND;
const HAS_PAYLOAD: u32 = bindings::V4L2_CTRL_FLAG_HAS_PAYLOAD;
const UNREADABLE: u32 = bindings::V4L2_CTRL_FLAG_WRITE_ONLY | bindings::V4L2_CTRL_FLAG_VOLATILE;
const FIXED: u32 = bindings::V4L2_CTRL_FLAG_READ_ONLY | bindings::V4L2_CTRL_FLAG_VOLATILE;

/// All controls of a device; both sides tell the same of each.
fn controls(both: &mut Both) -> Vec<QueryExtCtrl> {
    let mut all = Vec::new();
    let mut id = NEXT;
    loop {
        let query = QueryExtCtrl {
            id,
            ..QueryExtCtrl::default()
        };
        match both.same(ioctl::QUERY_EXT_CTRL, &query) {
            Ok(control) => {
                id = control.id | NEXT;
                all.push(control);
            }
            Err(errno) => {
                assert_eq!(errno, Errno::EINVAL);
                return all;
            }
        }
    }
}

/// A control's value: that of the structure, or the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    number: i64,
    payload: Vec<u8>,
}

fn size(control: &QueryExtCtrl) -> usize {
    if control.flags & HAS_PAYLOAD == 0 {
        return 0;
    }
    (control.elem_size * control.elems) as usize
}

fn structures(control: &QueryExtCtrl, value: &Value) -> (ExtControls, ExtControl) {
    let mut one = ExtControl {
        id: control.id,
        size: value.payload.len() as u32,
        ..ExtControl::default()
    };
    if value.payload.is_empty() {
        one.set_value64(value.number);
    }
    (ExtControls::default(), one)
}

fn number(control: &QueryExtCtrl, one: &ExtControl) -> i64 {
    match control.type_ {
        INTEGER64 => one.value64(),
        _ => i64::from(one.value()),
    }
}

/// G, S or TRY_EXT_CTRLS of one control in the guest, its payload scattered over pages.
fn ours(
    both: &mut Both,
    code: u32,
    control: &QueryExtCtrl,
    value: &Value,
) -> Result<Value, (Errno, u32)> {
    let (mut header, one) = structures(control, value);
    let mut list = [one];
    let len = value.payload.len();
    let pages = Pages::scattered(&both.pair.link.memory, len.max(1), 4093);
    pages.write(&value.payload);
    let memory = if len > 0 {
        pages.as_bytes().to_vec()
    } else {
        Vec::new()
    };
    let session = both.session;
    let result = both
        .pair
        .ext_controls(session, code, &mut header, &mut list, &memory);
    result.map_err(|errno| (errno, header.error_idx))?;
    assert_eq!(header.controls, 0);
    Ok(Value {
        number: if len > 0 {
            0
        } else {
            number(control, &list[0])
        },
        payload: pages.read(0, len),
    })
}

/// The same on the host.
fn theirs(
    both: &Both,
    code: u32,
    control: &QueryExtCtrl,
    value: &Value,
) -> Result<Value, (Errno, u32)> {
    let (mut header, one) = structures(control, value);
    let mut list = [one];
    let mut payloads = [value.payload.clone()];
    let result = both
        .host
        .ext_controls(code, &mut header, &mut list, &mut payloads);
    result.map_err(|errno| (errno, header.error_idx))?;
    let [payload] = payloads;
    Ok(Value {
        number: if payload.is_empty() {
            number(control, &list[0])
        } else {
            0
        },
        payload,
    })
}

#[track_caller]
fn get(both: &mut Both, control: &QueryExtCtrl) -> Value {
    let empty = Value {
        number: 0,
        payload: vec![0; size(control)],
    };
    let value = theirs(both, ioctl::G_EXT_CTRLS, control, &empty);
    let seen = ours(both, ioctl::G_EXT_CTRLS, control, &empty);
    assert_eq!(seen, value, "{control:?}");
    value.unwrap()
}

/// Values that a control can take, and some that it cannot.
fn values(control: &QueryExtCtrl, now: &Value) -> Vec<Value> {
    let number = |number| Value {
        number,
        payload: Vec::new(),
    };
    let payload = |payload| Value { number: 0, payload };
    let elements = |each: &[u8]| payload(each.repeat(control.elems as usize));
    let (least, most) = (control.minimum, control.maximum);
    match control.type_ {
        // An array.
        INTEGER if size(control) > 0 => [least, most]
            .map(|value| elements(&(value as i32).to_ne_bytes()))
            .to_vec(),
        INTEGER64 if size(control) > 0 => [least, most]
            .map(|value| elements(&value.to_ne_bytes()))
            .to_vec(),
        BOOLEAN if size(control) > 0 => [1i32, 0]
            .map(|value| elements(&value.to_ne_bytes()))
            .to_vec(),
        U8 => [least, most]
            .map(|value| elements(&(value as u8).to_ne_bytes()))
            .to_vec(),
        U16 => [least, most]
            .map(|value| elements(&(value as u16).to_ne_bytes()))
            .to_vec(),
        U32 => [least, most]
            .map(|value| elements(&(value as u32).to_ne_bytes()))
            .to_vec(),
        INTEGER | BOOLEAN | MENU | INTEGER_MENU => {
            [least, most, most + 1, least - 1].map(number).to_vec()
        }
        BITMASK => [0, most, most >> 1].map(number).to_vec(),
        INTEGER64 => [least, most].map(number).to_vec(),
        STRING => {
            let text = |len: i64| {
                let mut bytes: Vec<u8> = (0..len).map(|at| b'a' + (at % 26) as u8).collect();
                bytes.resize(size(control), 0);
                payload(bytes)
            };
            vec![text(least), text(most)]
        }
        // Compound: as it is.
        _ => vec![now.clone()],
    }
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn what_they_are() {
    for name in NODES {
        let mut both = Both::open(name);
        let all = controls(&mut both);
        println!("{name}: {} controls", all.len());
        assert!(!all.is_empty());
        for control in &all {
            let query = QueryCtrl {
                id: control.id,
                ..QueryCtrl::default()
            };
            let _ = both.same(ioctl::QUERYCTRL, &query);
            if [MENU, INTEGER_MENU].contains(&control.type_) {
                for index in control.minimum..=control.maximum + 1 {
                    let id = control.id;
                    let menu = QueryMenu {
                        id,
                        index: index as u32,
                        ..QueryMenu::default()
                    };
                    let _ = both.same(ioctl::QUERYMENU, &menu);
                }
            }
        }
        for id in [
            0,
            1,
            0x0098_0000,
            0x00ff_ffff,
            bindings::V4L2_CTRL_FLAG_NEXT_CTRL | 0x0098_0900,
            u32::MAX,
        ] {
            let _ = both.same(
                ioctl::QUERYCTRL,
                &QueryCtrl {
                    id,
                    ..QueryCtrl::default()
                },
            );
            if id & NEXT != 0 {
                continue;
            }
            let _ = both.same(ioctl::G_CTRL, &Control { id, value: 0 });
            let _ = both.same(
                ioctl::QUERYMENU,
                &QueryMenu {
                    id,
                    ..QueryMenu::default()
                },
            );
        }
        both.works();
    }
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn values_of_all_kinds() {
    let mut kinds = std::collections::BTreeSet::new();
    for name in NODES {
        let mut both = Both::open(name);
        for control in controls(&mut both) {
            let writable = control.flags & FIXED == 0;
            if [BUTTON, CLASS].contains(&control.type_) || control.flags & UNREADABLE != 0 {
                continue;
            }
            kinds.insert((control.type_, control.nr_of_dims > 0));
            let before = get(&mut both, &control);
            for value in values(&control, &before) {
                let tried = ours(&mut both, ioctl::TRY_EXT_CTRLS, &control, &value);
                let expected = theirs(&both, ioctl::TRY_EXT_CTRLS, &control, &value);
                assert_eq!(tried, expected, "TRY {value:?} of {control:?}");
                if !writable {
                    continue;
                }
                // Ours first: what the host then has is what we set.
                let set = ours(&mut both, ioctl::S_EXT_CTRLS, &control, &value);
                // A codec's controls are those of one file. vivid's plugs are set once more by a
                // work queue: no two of them in one socket.
                let plug = String::from_utf8_lossy(&control.name).contains("Is Connected To");
                if let Ok(set) = &set
                    && name.starts_with("VIVID")
                    && !plug
                {
                    assert_eq!(*set, get(&mut both, &control), "{control:?}");
                }
                let expected = theirs(&both, ioctl::S_EXT_CTRLS, &control, &value);
                assert_eq!(set, expected, "S {value:?} of {control:?}");
            }
            if writable {
                ours(&mut both, ioctl::S_EXT_CTRLS, &control, &before).unwrap();
            }
        }
        both.works();
    }
    println!("kinds of controls: {kinds:?}");
    // Integers, booleans, menus, integers of 64 bits, strings, bitmasks, integer menus; arrays of
    // bytes and words.
    for kind in [
        INTEGER,
        BOOLEAN,
        MENU,
        INTEGER64,
        STRING,
        BITMASK,
        INTEGER_MENU,
    ] {
        assert!(kinds.contains(&(kind, false)), "no control of type {kind}");
    }
    for kind in [U8, U16, U32] {
        assert!(kinds.contains(&(kind, true)), "no array of type {kind:#x}");
    }
}

/// Several controls in one call; one that is not there; what a failed call says.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn several_at_once() {
    let mut both = Both::open("VIVID_CAP");
    let brightness = bindings::V4L2_CID_BRIGHTNESS;
    let contrast = bindings::V4L2_CID_CONTRAST;
    for (ids, which) in [
        (vec![brightness, contrast], 0),
        (vec![brightness, 0x0098_ffff, contrast], 0),
        (
            vec![brightness, contrast],
            bindings::V4L2_CTRL_WHICH_DEF_VAL,
        ),
        (vec![brightness, contrast], 0x0098_0000),
        (vec![brightness, contrast], 0x0099_0000),
        (vec![], 0),
        (vec![], 0x0098_0000),
        (vec![], 0x00ff_0000),
    ] {
        for code in [ioctl::G_EXT_CTRLS, ioctl::TRY_EXT_CTRLS, ioctl::S_EXT_CTRLS] {
            let make = || -> (ExtControls, Vec<ExtControl>) {
                let list = ids.iter().map(|id| {
                    let mut control = ExtControl {
                        id: *id,
                        ..ExtControl::default()
                    };
                    control.set_value(100);
                    control
                });
                (
                    ExtControls {
                        which,
                        ..ExtControls::default()
                    },
                    list.collect(),
                )
            };
            let (mut header, mut list) = make();
            let session = both.session;
            let ours = both
                .pair
                .ext_controls(session, code, &mut header, &mut list, &[]);
            let (mut their_header, mut their_list) = make();
            let mut nothing = vec![Vec::new(); ids.len()];
            let theirs =
                both.host
                    .ext_controls(code, &mut their_header, &mut their_list, &mut nothing);
            assert_eq!(ours, theirs, "{code} of {ids:x?}, {which:#x}");
            assert_eq!(header, their_header, "{code} of {ids:x?}, {which:#x}");
            if ours.is_ok() {
                assert_eq!(list, their_list);
            }
        }
    }
    both.works();
}

/// What a guest may say of a payload that is not so.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn payloads_that_lie() {
    let mut both = Both::open("VIVID_CAP");
    let session = both.session;
    let all = controls(&mut both);
    let with_payload = all.iter().filter(|control| size(control) > 0);
    for control in with_payload {
        for code in [ioctl::G_EXT_CTRLS, ioctl::S_EXT_CTRLS, ioctl::TRY_EXT_CTRLS] {
            // A pointer and no size: it is a number, which goes nowhere.
            let mut one = ExtControl {
                id: control.id,
                ..ExtControl::default()
            };
            one.set_value64(0x7fff_dead_b000);
            let mut list = [one];
            let mut header = ExtControls::default();
            let result = both
                .pair
                .ext_controls(session, code, &mut header, &mut list, &[]);
            let (mut there, mut nothing) = ([one], [Vec::new()]);
            let theirs =
                both.host
                    .ext_controls(code, &mut ExtControls::default(), &mut there, &mut nothing);
            if code == ioctl::G_EXT_CTRLS {
                assert_eq!(result, theirs, "{control:?}");
                assert_eq!(list[0].size, there[0].size, "how much space it takes");
            } else {
                assert!(result.is_err(), "{control:?}");
            }
            // Too little space, and far too much of it.
            for len in [
                1,
                size(control).saturating_sub(1),
                size(control) + 1,
                1 << 16,
            ] {
                if len == 0 {
                    continue;
                }
                let pages = Pages::scattered(&both.pair.link.memory, len, 1);
                let mut list = [ExtControl {
                    id: control.id,
                    size: len as u32,
                    ..ExtControl::default()
                }];
                let mut header = ExtControls::default();
                let memory = pages.as_bytes();
                let ours = both
                    .pair
                    .ext_controls(session, code, &mut header, &mut list, memory);
                let mut there = [ExtControl {
                    id: control.id,
                    size: len as u32,
                    ..ExtControl::default()
                }];
                let mut payload = [vec![0; len]];
                let theirs = both.host.ext_controls(
                    code,
                    &mut ExtControls::default(),
                    &mut there,
                    &mut payload,
                );
                assert_eq!(ours, theirs, "{len} bytes for {control:?}");
                // Of a value that is refused the size may stay what was said: the daemon gives the
                // kernel no more than there is.
                if matches!(ours, Ok(()) | Err(Errno::ENOSPC)) {
                    assert_eq!(list[0].size, there[0].size);
                }
            }
        }
    }
    // More than any control has, and memory that is not the guest's.
    let id = all.iter().find(|control| size(control) > 0).unwrap().id;
    for (size, start) in [
        (u32::MAX, 0x1000),
        (1 << 30, 0x1000),
        (64, u64::MAX - 63),
        (64, 0x7000_0000_0000),
    ] {
        let entry = protocol::wire::sg::SgEntry::new(start, size);
        let mut list = [ExtControl {
            id,
            size,
            ..ExtControl::default()
        }];
        for code in [ioctl::G_EXT_CTRLS, ioctl::S_EXT_CTRLS] {
            let mut header = ExtControls::default();
            let memory = zerocopy::IntoBytes::as_bytes(&entry);
            let result = both
                .pair
                .ext_controls(session, code, &mut header, &mut list, memory);
            if start == 0x1000 {
                // As much as the control has is taken from there.
                both.works();
            } else {
                assert_eq!(result, Err(Errno::EFAULT), "{size} bytes at {start:#x}");
            }
        }
    }
    // Of requests (media), which do not travel.
    let mut list = [ExtControl {
        id: bindings::V4L2_CID_BRIGHTNESS,
        ..ExtControl::default()
    }];
    let mut header = ExtControls {
        which: bindings::V4L2_CTRL_WHICH_REQUEST_VAL,
        ..ExtControls::default()
    };
    for fd in [-1, 0, 3, 5, i32::MAX] {
        header.request_fd = fd;
        let result =
            both.pair
                .ext_controls(session, ioctl::G_EXT_CTRLS, &mut header, &mut list, &[]);
        assert_eq!(result, Err(Errno::EINVAL));
    }
    both.works();
}

/// Numbers of the host's device, as its own programs see them: all that can be read.
fn numbers(both: &Both) -> Vec<(u32, i64)> {
    let (mut found, mut id) = (Vec::new(), NEXT);
    let mut query = QueryExtCtrl::default();
    loop {
        query.id = id;
        if both.host.call(ioctl::QUERY_EXT_CTRL, &mut query).is_err() {
            return found;
        }
        id = query.id | NEXT;
        let nothing = Value {
            number: 0,
            payload: Vec::new(),
        };
        let plain = size(&query) == 0 && query.flags & UNREADABLE == 0;
        if let (true, Ok(value)) = (plain, theirs(both, ioctl::G_EXT_CTRLS, &query, &nothing)) {
            found.push((query.id, value.number));
        }
    }
}

/// Every call that sets, gets or names control `id`.
#[track_caller]
fn refused(both: &mut Both, id: u32) {
    let session = both.session;
    let mut one = Control { id, value: 1 };
    for code in [ioctl::S_CTRL, ioctl::G_CTRL] {
        let result = both.pair.ioctl(session, code, &mut one);
        assert_eq!(result, Err(Errno::EINVAL), "{code} of {id:#x}");
    }
    let mut list = [ExtControl {
        id,
        ..ExtControl::default()
    }];
    list[0].set_value64(1);
    for code in [ioctl::S_EXT_CTRLS, ioctl::TRY_EXT_CTRLS, ioctl::G_EXT_CTRLS] {
        let mut header = ExtControls::default();
        let result = both
            .pair
            .ext_controls(session, code, &mut header, &mut list, &[]);
        assert_eq!(result, Err(Errno::EINVAL), "{code} of {id:#x}");
        let at = if code == ioctl::S_EXT_CTRLS { 1 } else { 0 };
        assert_eq!(header.error_idx, at, "{code} of {id:#x}");
    }
    let mut menu = QueryMenu {
        id,
        ..QueryMenu::default()
    };
    let result = both.pair.ioctl(session, ioctl::QUERYMENU, &mut menu);
    assert_eq!(result, Err(Errno::EINVAL), "QUERYMENU of {id:#x}");
    let mut event = EventSubscription {
        type_: bindings::V4L2_EVENT_CTRL,
        id,
        ..EventSubscription::default()
    };
    let result = both.pair.ioctl(session, ioctl::SUBSCRIBE_EVENT, &mut event);
    assert_eq!(result, Err(Errno::EINVAL), "SUBSCRIBE_EVENT of {id:#x}");
}

/// uvcvideo takes brightness with `V4L2_CTRL_FLAG_NEXT_CTRL` for the control after it in calls that
/// set, too. An ID with such bits is refused before any driver sees it.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn bits_of_queries_set_nothing() {
    let camera = std::env::var_os("CAMERA").filter(|path| !path.is_empty());
    let camera = camera.map(|_| "CAMERA");
    for name in ["VIVID_CAP"].into_iter().chain(camera) {
        for settings in [&[][..], &[("controls", "brightness")][..]] {
            let mut both = Both::open_with(name, settings, Limits::default());
            let before = numbers(&both);
            assert!(before.len() > 4, "{name}: {before:?}");
            for bits in [1 << 28, 1 << 29, 1 << 30, 1 << 31, NEXT, 0xf << 28] {
                refused(&mut both, bindings::V4L2_CID_BRIGHTNESS | bits);
            }
            assert_eq!(numbers(&both), before, "{name}, {settings:?}");
            both.works();
        }
    }
}
