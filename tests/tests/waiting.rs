// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Calls that take long: others go on meanwhile, of the same VM and of other devices.

mod common;

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::Pair;
use common::fake::Fake;
use frontend::client::ioctl_parts;
use frontend::{Client, Options, PATIENCE};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::SgEntry;
use protocol::wire::v4l2::{BUF_TYPE_VIDEO_OUTPUT, Buffer, Format, MEMORY_MMAP, MEMORY_USERPTR};
use virtio_v4l2d::config::Limits;
use virtio_v4l2d::device::Device;
use virtio_v4l2d::transport::{Stop, serve_stream};
use zerocopy::IntoBytes;

/// A device whose calls with number `code` do not return before the sender is dropped. The receiver
/// hears of each.
fn hanging(code: u32) -> (Fake, Sender<()>, Receiver<u32>) {
    let fake = Fake::default();
    let (release, held) = channel::<()>();
    let (said, heard) = channel();
    let both = Mutex::new(said);
    let held = Mutex::new(held);
    fake.answer(move |call, _| {
        if call.code == code {
            both.lock().unwrap().send(call.session).unwrap();
            let _ = held.lock().unwrap().recv();
        }
        Ok(())
    });
    (fake, release, heard)
}

fn answers(client: &mut Client, session: u32) {
    let mut format = Format::default();
    assert_eq!(client.ioctl(session, ioctl::G_FMT, &mut format), Ok(()));
}

/// QBUF that has much to map, or of a device that others use: another session is answered
/// meanwhile, and what the same one asks for next comes after it.
#[test]
fn qbuf_that_takes_long() {
    for (memory, may_wait) in [(MEMORY_USERPTR, false), (MEMORY_MMAP, true)] {
        let (fake, release, heard) = hanging(ioctl::QBUF);
        fake.set_slow(!may_wait);
        fake.set_may_wait(may_wait);
        fake.set_busy(may_wait);
        let mut pair = Pair::new(Arc::new(fake.clone()));
        let client = pair.client.as_mut().unwrap();
        let [first, second] = [(); 2].map(|()| client.open().unwrap());
        let buffer = Buffer {
            type_: BUF_TYPE_VIDEO_OUTPUT,
            memory,
            length: 4096,
            ..Buffer::default()
        };
        let entries = [SgEntry::new(4096, 4096)];
        let list = match memory {
            MEMORY_USERPTR => entries.as_bytes(),
            _ => &[],
        };
        let (readable, capacity) = ioctl_parts(first, ioctl::QBUF, buffer.as_bytes(), &[], list);
        let queued = client.submit(&readable, capacity);
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(first));
        answers(client, second);
        let format = Format::default();
        let (readable, capacity) = ioctl_parts(first, ioctl::G_FMT, format.as_bytes(), &[], &[]);
        let behind = client.submit(&readable, capacity);
        drop(release);
        assert_eq!(client.wait(queued).status(), Some(0));
        assert_eq!(client.wait(behind).status(), Some(0));
        let codes: Vec<_> = fake.calls().iter().map(|call| call.code).collect();
        // Once: that it was not made at first is not seen.
        assert_eq!(codes, [ioctl::QBUF, ioctl::G_FMT, ioctl::G_FMT]);
    }
}

/// A device hangs in all calls of all its sessions. Another device, in the same daemon, does not
/// notice.
#[test]
fn a_device_that_hangs_hangs_alone() {
    // Less than a session each: nothing of theirs is to depend on it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let limits = Limits {
        max_sessions: 8,
        ..Limits::default()
    };
    let (fake, release, heard) = hanging(ioctl::S_FMT);
    let well = Fake::default();
    std::thread::scope(|scope| {
        let connect = |device: &Fake| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            device.set_may_wait(true);
            let device: Arc<dyn Device> = Arc::new(device.clone());
            let handle = runtime.handle();
            scope.spawn(move || {
                serve_stream(
                    theirs,
                    &device,
                    (limits, &limits.account(1)),
                    handle,
                    &Stop::new().unwrap(),
                )
                .unwrap();
            });
            Client::new(ours, &Options::default()).unwrap()
        };
        let [mut hung, mut other] = [connect(&fake), connect(&well)];
        let sessions: Vec<_> = (0..8).map(|_| hung.open().unwrap()).collect();
        assert_eq!(hung.open(), Err(Errno::EMFILE));
        let mut waiting = Vec::new();
        for session in sessions {
            let format = Format::default();
            let (readable, capacity) =
                ioctl_parts(session, ioctl::S_FMT, format.as_bytes(), &[], &[]);
            waiting.push(hung.submit(&readable, capacity));
            assert_eq!(heard.recv_timeout(PATIENCE), Ok(session));
        }
        let session = other.open().unwrap();
        answers(&mut other, session);
        drop(release);
        for pending in waiting {
            assert_eq!(hung.wait(pending).status(), Some(0));
        }
        drop((hung, other));
    });
}
