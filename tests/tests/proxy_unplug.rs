// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The device goes while it is in use, and comes back: ENODEV, and nothing else suffers.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::leaks::Holdings;
use common::proxy::*;
use common::{Pair, alone, panics};
use frontend::stream::Memory;
use frontend::{Buffers, Client, PATIENCE, WireEvent};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{EVENT_CTRL, EventSubscription, Format};

const DRIVER: &str = "/sys/bus/platform/drivers/vivid";

/// Takes vivid from its driver, as unloading does, or gives it back.
fn vivid(what: &str) {
    std::fs::write(Path::new(DRIVER).join(what), "vivid.0").unwrap();
}

/// Gives vivid back to its driver when the test ends, however it ends.
struct Bound;

impl Drop for Bound {
    fn drop(&mut self) {
        if !Path::new(DRIVER).join("vivid.0").exists() {
            vivid("bind");
        }
    }
}

/// A session that captures.
#[track_caller]
fn streaming(client: &mut Client, memory: Memory) -> Buffers {
    let session = client.open().unwrap();
    set_format(client, session, VIDEO_CAPTURE, b"YUYV", (640, 360));
    let buffers = Buffers::streaming(client, session, (VIDEO_CAPTURE, 4, memory));
    for _ in 0..3 {
        let event = buffers.next(client);
        buffers.queue(client, event.buffer.index, &[]).unwrap();
    }
    buffers
}

/// Waits until the session is told that the device is gone.
#[track_caller]
fn lost(client: &mut Client, session: u32) {
    loop {
        match client.event() {
            WireEvent::Error(event) => {
                assert_eq!(event.hdr.session_id, session);
                assert_eq!(event.errno, Errno::ENODEV as u32);
                return;
            }
            WireEvent::Dqbuf(_) | WireEvent::Event(_) => {}
        }
    }
}

/// One frame through the encoder of a device that stays.
#[track_caller]
fn encodes(client: &mut Client) {
    let session = client.open().unwrap();
    let pix = set_format(client, session, VIDEO_OUTPUT, b"NV12", (640, 480));
    let mut raw = Buffers::request(client, session, (VIDEO_OUTPUT, 2, Memory::Mmap)).unwrap();
    let mut coded = Buffers::request(client, session, (VIDEO_CAPTURE, 2, Memory::Mmap)).unwrap();
    raw.streamon(client).unwrap();
    coded.streamon(client).unwrap();
    coded.queue_all(client).unwrap();
    raw.queue(client, 0, &[pix.sizeimage as usize]).unwrap();
    loop {
        match client.event() {
            WireEvent::Dqbuf(event) if event.buffer.type_ == VIDEO_CAPTURE => {
                assert!(event.buffer.bytesused > 0);
                break;
            }
            WireEvent::Dqbuf(_) => {}
            other => panic!("{other:?}"),
        }
    }
    client.close(session);
    while client.poll_event().is_some() {}
    raw.unmap(client).unwrap();
    coded.unmap(client).unwrap();
}

/// Waits for the node to be there again.
fn wait_for(path: &Path) {
    let end = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(
            Instant::now() < end,
            "{} does not come back",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn gone_in_mid_stream_and_back() {
    let _alone = alone();
    let _bound = Bound;
    let path = node("VIVID_CAP");
    let mut camera = Pair::new(device(&path));
    let mut codec = Pair::new(device(&node("VICODEC_ENC")));
    encodes(&mut codec);
    let mut before = None;
    for round in 0..4 {
        let memory = if round % 2 == 0 {
            Memory::Mmap
        } else {
            Memory::Scattered(0)
        };
        let mut buffers = streaming(&mut camera, memory);
        let session = buffers.session;
        vivid("unbind");
        lost(&mut camera, session);
        encodes(&mut codec);
        // All calls of that file, and new files.
        let mut format = Format {
            type_: VIDEO_CAPTURE,
            ..Format::default()
        };
        assert_eq!(
            camera.ioctl(session, ioctl::G_FMT, &mut format),
            Err(Errno::ENODEV)
        );
        assert_eq!(buffers.queue(&mut camera, 0, &[]), Err(Errno::ENODEV));
        assert_eq!(buffers.streamoff(&mut camera), Err(Errno::ENODEV));
        assert!(camera.open().is_err(), "there is no such device");
        camera.close(session);
        while camera.poll_event().is_some() {}
        buffers.unmap(&mut camera).unwrap();
        vivid("bind");
        wait_for(&path);
        if round == 1 {
            before = Some(Holdings::now());
        }
    }
    let mut buffers = streaming(&mut camera, Memory::Mmap);
    camera.close(buffers.session);
    buffers.unmap(&mut camera).unwrap();
    before.unwrap().assert_back();
    encodes(&mut codec);
    assert_eq!(panics(), 0);
}

/// A file that does nothing at that moment.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn gone_while_idle() {
    let _alone = alone();
    let _bound = Bound;
    for name in [
        "VIVID_CAP",
        "VIVID_OUT",
        "VIVID_RADIO_RX",
        "VIVID_VBI_CAP",
        "VIVID_SDR",
        "VIVID_TOUCH",
    ] {
        let path = node(name);
        let mut pair = Pair::new(device(&path));
        let session = pair.open().unwrap();
        let mut events = EventSubscription {
            type_: EVENT_CTRL,
            id: 0x0098_0900,
            ..EventSubscription::default()
        };
        let _ = pair.ioctl(session, ioctl::SUBSCRIBE_EVENT, &mut events);
        vivid("unbind");
        let mut query = protocol::wire::v4l2::QueryCtrl {
            id: 0x8000_0000,
            ..Default::default()
        };
        assert_eq!(
            pair.ioctl(session, ioctl::QUERYCTRL, &mut query),
            Err(Errno::ENODEV),
            "{name}"
        );
        lost(&mut pair, session);
        pair.close(session);
        vivid("bind");
        wait_for(&path);
        let session = pair.open().unwrap();
        pair.close(session);
        pair.end();
        assert_eq!(panics(), 0);
    }
}

/// The VMM hangs up while the device is gone; the next one finds what there is.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn gone_and_the_vmm_too() {
    let _alone = alone();
    let _bound = Bound;
    let path = node("VIVID_CAP");
    let device = device(&path);
    for _ in 0..3 {
        let mut pair = Pair::new(device.clone());
        streaming(&mut pair, Memory::Mmap);
        vivid("unbind");
        pair.end();
        let mut pair = Pair::new(device.clone());
        assert!(pair.open().is_err());
        pair.end();
        vivid("bind");
        wait_for(&path);
    }
    let mut pair = Pair::new(device);
    streaming(&mut pair, Memory::Mmap);
    pair.end();
    assert_eq!(panics(), 0);
}
