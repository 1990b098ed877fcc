// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! From bytes to typed calls and back: every ioctl of the table against a device that writes down
//! what it is asked.

mod common;

use std::sync::Arc;

use common::Pair;
use common::bytes::{
    CODES_OF_BUFFERS, CODES_OF_CONTROLS, assert_reply, flip, pair, pattern, response, simple_call,
};
use common::fake::Fake;
use frontend::{Layout, Options};
use nix::errno::Errno;
use protocol::wire::config::Config;
use protocol::wire::ioctl::{self, Attached, Direction, Ioctl, TABLE};
use protocol::wire::v4l2::RequestBuffers;
use zerocopy::IntoBytes;

#[test]
fn configuration_space() {
    let fake = Fake::default();
    let config = Config {
        device_caps: 0x0420_4001,
        device_type: 5,
        card: *b"thirty-two bytes, no terminator!",
    };
    fake.set_config(config);
    let mut pair = Pair::new(Arc::new(fake));
    assert_eq!(pair.link.config().unwrap(), config);
    assert_eq!(pair.link.config_bytes(4, 6).unwrap(), b"\x05\0\0\0th");
    assert_eq!(pair.link.config_bytes(39, 1).unwrap(), b"!");
}

/// Payloads without anything behind them: all directions, all layouts of descriptors.
#[test]
fn every_plain_ioctl() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip(&mut call.payload);
        Ok(())
    });
    let session = pair.open().unwrap();
    let mut seen = 0;
    for layout in [
        Layout::Two,
        Layout::Split(17),
        Layout::Indirect,
        Layout::IndirectSplit(5),
    ] {
        pair.layout = layout;
        for ioctl in TABLE.iter().filter(|ioctl| ioctl.forwarded) {
            if ioctl.attached != Attached::Nothing {
                continue;
            }
            seen += 1;
            let sent = pattern(ioctl.code, ioctl.size);
            let reply = pair.ioctl_raw(session, ioctl.code, &sent, &[], &[]);
            let mut arrived = match ioctl.direction {
                Direction::Read => vec![0; ioctl.size],
                _ => sent,
            };
            let call = simple_call(session, ioctl.code, arrived.clone());
            assert_eq!(fake.calls(), [call], "{} {layout:?}", ioctl.name);
            flip(&mut arrived);
            match ioctl.direction {
                Direction::Write => assert_reply(&reply, &response(0, &[])),
                _ => assert_reply(&reply, &response(0, &[&arrived])),
            }
        }
    }
    let attached = CODES_OF_BUFFERS.len() + CODES_OF_CONTROLS.len() + 3;
    let silent = TABLE.iter().filter(|ioctl| !ioctl.forwarded).count();
    assert_eq!(seen, 4 * (TABLE.len() - attached - silent));
}

/// Descriptors of single bytes, and one buffer for both directions as the specification suggests.
#[test]
fn descriptor_boundaries_carry_no_meaning() {
    use frontend::Segment;

    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip(&mut call.payload);
        Ok(())
    });
    pair.layout = Layout::Split(1);
    let session = pair.open().unwrap();
    let sent = pattern(3, 64);
    let mut back = sent.clone();
    flip(&mut back);
    let reply = pair.ioctl_raw(session, ioctl::ENUM_FMT, &sent, &[], &[]);
    assert_reply(&reply, &response(0, &[&back]));

    let command = pair.link.memory.place(&{
        let (mut command, _) =
            frontend::client::ioctl_parts(session, ioctl::ENUM_FMT, &[], &[], &[]);
        command.truncate(16);
        command
    });
    let payload = pair.link.memory.place(&sent);
    let header = pair.link.memory.alloc(8, 8);
    let since = pair.link.commands.avail_index();
    pair.link.commands.add(&[
        Segment::readable(&command),
        Segment::readable(&payload),
        Segment::writable(&header),
        Segment::writable(&payload),
    ]);
    pair.link.commands.notify(since);
    let used = pair.link.commands.wait_used(frontend::PATIENCE).unwrap();
    assert_eq!(used.len, 8 + 64);
    assert_eq!(header.bytes(), [0; 8]);
    assert_eq!(payload.bytes(), back);
}

#[test]
fn ioctls_that_do_not_travel() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    let codes = TABLE
        .iter()
        .filter(|ioctl| !ioctl.forwarded)
        .map(|ioctl| ioctl.code)
        .chain([1, 3, 6, 7, 105, 191, 192, 255, 256, 0x8004_5604, u32::MAX]);
    for code in codes {
        let reply = pair.ioctl_raw(session, code, &[0; 128], &[], &[]);
        assert_reply(&reply, &response(Errno::ENOTTY as u32, &[]));
    }
    assert_eq!(fake.calls(), []);
}

/// Whether V4L2 gives the payload of a call that failed back, too.
fn comes_back(ioctl: &Ioctl) -> bool {
    matches!(ioctl.attached, Attached::Controls | Attached::Edid)
        || ioctl.code == ioctl::QUERY_DV_TIMINGS
}

/// `blocks` of an EDID says how much there would be.
#[test]
fn payloads_that_come_back_from_a_failure() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    for code in [ioctl::G_EDID, ioctl::S_EDID, ioctl::QUERY_DV_TIMINGS] {
        fake.answer(|call, _| {
            flip(&mut call.payload);
            Err(Errno::E2BIG)
        });
        let size = ioctl::lookup(code).unwrap().size;
        let reply = pair.ioctl_raw(session, code, &vec![0; size], &[], &[]);
        let mut expected = vec![0; size];
        flip(&mut expected);
        if code != ioctl::QUERY_DV_TIMINGS {
            // The driver's pointer.
            expected[32..].fill(0);
        }
        assert_reply(&reply, &response(Errno::E2BIG as u32, &[&expected]));
    }
}

/// On failure the header travels alone, for every other ioctl.
#[test]
fn errors_are_the_header_alone() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    for (i, ioctl) in TABLE.iter().enumerate() {
        if !ioctl.forwarded || comes_back(ioctl) {
            continue;
        }
        // Each errno once, and what the answer changes is not to be seen.
        let errno = Errno::from_raw(1 + (i as i32 % 34));
        fake.answer(move |call, _| {
            flip(&mut call.payload);
            Err(errno)
        });
        let payload = vec![0; ioctl.size];
        let uuid: &[u8] = match ioctl.attached {
            Attached::Uuid => &[0; 16],
            _ => &[],
        };
        let reply = pair.ioctl_raw(session, ioctl.code, &payload, &[], uuid);
        assert_reply(&reply, &response(errno as u32, &[]));
        assert_eq!(fake.calls().len(), 1, "{}", ioctl.name);
    }
}

#[test]
fn sessions_have_their_own_ids() {
    let (fake, mut pair) = pair();
    let ids = [(); 5].map(|()| pair.open().unwrap());
    let mut sorted = ids;
    sorted.sort_unstable();
    assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    for id in ids {
        pair.ioctl(id, ioctl::STREAMON, &mut 9_u32).unwrap();
        assert_eq!(fake.calls()[0].session, id);
    }
    for id in ids {
        pair.close(id);
    }
    // A blocking task may do it.
    let again = pair.open().unwrap();
    assert!(fake.open_sessions().contains(&again));
}

#[test]
fn close_drops_the_session_and_has_no_response() {
    let (fake, mut pair) = pair();
    let first = pair.open().unwrap();
    let second = pair.open().unwrap();
    pair.close(first);
    assert_eq!(
        pair.ioctl(first, ioctl::REQBUFS, &mut RequestBuffers::default()),
        Err(common::UNKNOWN_SESSION)
    );
    assert_eq!(pair.mmap(first, 0), Err(common::UNKNOWN_SESSION));
    pair.ioctl(second, ioctl::REQBUFS, &mut RequestBuffers::default())
        .unwrap();
    assert_eq!(fake.closed(), [first]);
    // Again; and by a driver that leaves space for a response, which may be left unwritten or hold
    // a status.
    pair.close(first);
    let command = protocol::wire::command::CmdClose::new(second);
    let reply = pair.command(command.as_bytes(), 8);
    assert!(matches!(reply.status(), None | Some(0)));
    assert_eq!(
        pair.ioctl(second, ioctl::REQBUFS, &mut RequestBuffers::default()),
        Err(common::UNKNOWN_SESSION)
    );
    assert_eq!(fake.closed(), [first, second]);
}

#[test]
fn the_device_may_refuse_to_open() {
    let (fake, mut pair) = pair();
    for errno in [Errno::EBUSY, Errno::EMFILE, Errno::ENODEV] {
        fake.refuse_open(Some(errno));
        assert_eq!(pair.open(), Err(errno));
    }
    fake.refuse_open(None);
    pair.open().unwrap();
}

#[test]
fn hanging_up_closes_all_sessions() {
    let (fake, mut pair) = pair();
    let mut ids: Vec<u32> = (0..4).map(|_| pair.open().unwrap()).collect();
    pair.end();
    let mut closed = fake.closed();
    closed.sort_unstable();
    ids.sort_unstable();
    assert_eq!(closed, ids);
}

/// Calls of one session come in order and never overlap; another session goes on while one is slow.
#[test]
fn order_of_calls() {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    let (fake, mut pair) = pair();
    let slow = pair.open().unwrap();
    let quick = pair.open().unwrap();
    let (release, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    fake.answer(move |call, _| {
        if call.code == ioctl::STREAMON {
            gate.lock()
                .unwrap()
                .recv_timeout(frontend::PATIENCE)
                .unwrap();
        }
        Ok(())
    });
    let ioctl_to = |session, ioctl: &Ioctl| {
        let payload = vec![0; ioctl.size];
        frontend::client::ioctl_parts(session, ioctl.code, &payload, &[], &[])
    };
    let named = |code| ioctl::lookup(code).unwrap();
    let (readable, capacity) = ioctl_to(slow, named(ioctl::STREAMON));
    let streamon = pair.submit(&readable, capacity);
    let (readable, capacity) = ioctl_to(slow, named(ioctl::G_FMT));
    let behind = pair.submit(&readable, capacity);
    let (readable, capacity) = ioctl_to(quick, named(ioctl::G_PARM));
    let other = pair.submit(&readable, capacity);
    assert_eq!(pair.wait(other).status(), Some(0));
    let mut calls = fake.calls();
    assert!(calls.iter().all(|call| call.code != ioctl::G_FMT));
    release.send(()).unwrap();
    assert_eq!(pair.wait(behind).status(), Some(0));
    assert_eq!(pair.wait(streamon).status(), Some(0));
    calls.extend(fake.calls());
    calls.retain(|call| call.session == slow);
    let codes: Vec<u32> = calls.iter().map(|call| call.code).collect();
    assert_eq!(codes, [ioctl::STREAMON, ioctl::G_FMT]);
}

/// Without the features that the driver may leave: no indirect descriptors, no event index.
#[test]
fn a_driver_of_few_features() {
    let fake = Fake::default();
    let options = Options {
        event_idx: false,
        indirect: false,
        queue_size: 8,
        event_buffers: 4,
        ..Options::default()
    };
    let mut pair = Pair::with(Arc::new(fake.clone()), &options);
    let session = pair.open().unwrap();
    for _ in 0..100 {
        pair.ioctl(session, ioctl::STREAMON, &mut 9_u32).unwrap();
    }
    assert_eq!(fake.calls().len(), 100);
}
