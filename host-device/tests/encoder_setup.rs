// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Sessions, events, exports: what is there, and what is refused when.

mod encoder_support;

use encoder_support::*;
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{EventSubscription, ExportBuffer, RequestBuffers};
use virtio_v4l2d::device::Device as _;
use virtio_v4l2d::device::encoder::{Encoder, Settings};
use virtio_v4l2d::memory::Vm;
use virtio_v4l2d::v4l2::core::uapi::*;

fn client() -> Client {
    Client::new(&encoder(Settings::default()))
}

#[test]
fn events_are_those_of_an_encoder() {
    let mut client = client();
    assert_eq!(client.subscribe(V4L2_EVENT_EOS, 0, 0), Ok(()));
    for type_ in [0, V4L2_EVENT_SOURCE_CHANGE, V4L2_EVENT_VSYNC, 99] {
        assert_eq!(client.subscribe(type_, 0, 0), Err(Errno::EINVAL));
    }
    assert_eq!(client.subscribe(V4L2_EVENT_CTRL, 1, 0), Err(Errno::EINVAL));
    let (class, bitrate) = (V4L2_CID_CODEC_CLASS, V4L2_CID_MPEG_VIDEO_BITRATE);
    let initial = V4L2_EVENT_SUB_FL_SEND_INITIAL;
    assert_eq!(client.subscribe(V4L2_EVENT_CTRL, class, initial), Ok(()));
    assert_eq!(client.subscribe(V4L2_EVENT_CTRL, bitrate, initial), Ok(()));
    // It is there before the call returns, and that of the class is not.
    let Some(Got::Event(event)) = client.next(std::time::Duration::ZERO) else {
        panic!("no initial event");
    };
    assert_eq!(
        (event.type_, event.id, event.sequence),
        (V4L2_EVENT_CTRL, bitrate, 0)
    );
    // A session is not told of what it does itself, unless it wants to be.
    client.control(bitrate, 1_000_000);
    assert!(client.next(std::time::Duration::ZERO).is_none());
    client
        .subscribe(V4L2_EVENT_CTRL, bitrate, V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK)
        .unwrap();
    client.control(bitrate, 2_000_000);
    assert!(matches!(
        client.next(std::time::Duration::ZERO),
        Some(Got::Event(event)) if event.sequence == 1
    ));
    let all = EventSubscription {
        type_: V4L2_EVENT_ALL,
        ..Default::default()
    };
    client.session.unsubscribe_event(&all).unwrap();
    client.session.unsubscribe_event(&all).unwrap();
    client.control(bitrate, 3_000_000);
    assert!(client.next(std::time::Duration::ZERO).is_none());
}

#[test]
fn only_planes_of_mmap_buffers_are_exported() {
    let mut client = Client::new(&encoder(all_formats()));
    client.formats(b"NM12", 640, 360);
    client.buffers(2, 2);
    let mut expbuf = |type_, index, plane, flags| {
        let mut export = ExportBuffer {
            type_,
            index,
            plane,
            flags,
            ..Default::default()
        };
        let mut uuid = Uuid::default();
        let result = client.session.expbuf(&mut export, &mut uuid);
        result.map(|()| uuid)
    };
    let first = expbuf(OUTPUT, 0, 0, 0);
    assert_eq!(
        expbuf(OUTPUT, 0, 0, 0o2_000_002),
        first,
        "O_CLOEXEC | O_RDWR"
    );
    assert_ne!(expbuf(OUTPUT, 0, 1, 0), first);
    assert_ne!(expbuf(CAPTURE, 0, 0, 0), first);
    for (type_, index, plane, flags) in [
        (1, 0, 0, 0),
        (OUTPUT, 2, 0, 0),
        (OUTPUT, u32::MAX, 0, 0),
        (OUTPUT, 0, 2, 0),
        (OUTPUT, 0, u32::MAX, 0),
        (OUTPUT, 0, 0, 0x80),
    ] {
        assert_eq!(expbuf(type_, index, plane, flags), Err(Errno::EINVAL));
    }
    let mut imported = RequestBuffers {
        count: 2,
        type_: OUTPUT,
        memory: MEMORY_USERPTR,
        ..Default::default()
    };
    client.session.reqbufs(&mut imported).unwrap();
    let mut export = ExportBuffer {
        type_: OUTPUT,
        ..Default::default()
    };
    let refused = client.session.expbuf(&mut export, &mut Uuid::default());
    assert_eq!(refused, Err(Errno::EINVAL));
}

#[test]
fn what_is_not_there_is_enotty() {
    let mut client = client();
    let g_std = ioctl::lookup(23).unwrap();
    assert_eq!(client.session.other(g_std, &mut [0; 8]), Err(Errno::ENOTTY));
    assert!(client.session.mmap(0).is_err());
}

#[test]
fn streaming_needs_buffers() {
    let mut client = client();
    for type_ in [OUTPUT, CAPTURE] {
        assert_eq!(client.session.streamon(type_), Err(Errno::EINVAL));
        assert_eq!(client.session.streamoff(type_), Ok(()));
        assert!(client.reqbufs(type_, 2).unwrap() >= 2);
        assert_eq!(client.session.streamon(type_), Ok(()));
        assert_eq!(client.session.streamon(type_), Ok(()));
        assert_eq!(client.reqbufs(type_, 0), Err(Errno::EBUSY));
        assert_eq!(client.session.streamoff(type_), Ok(()));
        assert_eq!(client.session.streamoff(type_), Ok(()));
        assert_eq!(client.reqbufs(type_, 0), Ok(0));
    }
    assert_eq!(client.session.streamon(1), Err(Errno::EINVAL));
    assert_eq!(client.session.streamoff(1), Err(Errno::EINVAL));
}

#[test]
fn sessions_are_counted() {
    let encoder: Encoder = encoder(Settings {
        max_sessions: 2,
        ..Settings::default()
    });
    let open = || encoder.open(7, channel().0, Vm::without_guest());
    let first = open().unwrap();
    let _second = open().unwrap();
    assert_eq!(open().err(), Some(Errno::EMFILE));
    drop(first);
    assert!(open().is_ok());
    let config = encoder.config();
    assert_eq!(
        config.device_caps,
        V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING
    );
}
