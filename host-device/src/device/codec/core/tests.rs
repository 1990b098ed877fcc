// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Buffers whose memory is not ready yet.

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::wire::v4l2::RequestBuffers;
use tokio::runtime::Runtime;

use super::*;
use crate::device::api::{BufferArgs, WireMemory};
use crate::device::gst::formats;
use crate::events::testing::{self, Sent, SentEvents};
use crate::memory::Fence;

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    core: Core,
    events: Events,
    sent: SentEvents,
    runtime: Runtime,
}

/// A fence, what signals it, and what tells that it was noticed.
fn fence(runtime: &Runtime, timeout: Duration) -> (Fence, EventFd, Receiver<()>) {
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
    let file = event.as_fd().try_clone_to_owned().unwrap();
    let (sender, noticed) = channel();
    let then = move || sender.send(()).unwrap();
    let fence = Fence::new(vec![file], timeout, runtime.handle(), then);
    (fence, event, noticed)
}

impl Rig {
    fn new() -> Self {
        let controls = Controls::new(std::iter::empty());
        let h264 = CodedKind {
            fourcc: fourcc(b"H264"),
            description: "H.264",
            filler: &[0; 4],
        };
        let vm = Vm::without_guest();
        let mut core = Core::new(controls, vec![h264], formats::default(), &vm).unwrap();
        let sizes = core.formats.raw.sizes();
        for (queue, sizes) in [(&mut core.output, &sizes[..]), (&mut core.capture, &[4096])] {
            let mut request = RequestBuffers {
                count: 4,
                type_: queue.type_,
                memory: MEMORY_MMAP,
                ..Default::default()
            };
            queue.reqbufs(&mut request, sizes).unwrap();
            queue.streamon().unwrap();
        }
        let (events, sent) = testing::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self {
            core,
            events,
            sent,
            runtime,
        }
    }

    fn queue(&mut self, type_: u32, index: u32, fence: Option<Fence>) {
        let sizes = self.core.formats.raw.sizes();
        let queue = if type_ == OUTPUT {
            &mut self.core.output
        } else {
            &mut self.core.capture
        };
        let args = BufferArgs {
            buffer: &mut Buffer {
                index,
                type_,
                memory: MEMORY_MMAP,
                ..Default::default()
            },
            planes: &mut [Plane::default()],
            memory: WireMemory::Nothing,
        };
        queue
            .qbuf(args, (Vec::new(), fence), &sizes, Private::default())
            .unwrap();
    }

    /// The frame that is to be coded next.
    fn next(&mut self) -> Option<u32> {
        match self.core.next(true, &self.events)? {
            Action::Code(job) => Some(job.index),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn frames_wait_for_their_fence_in_order() {
    let mut rig = Rig::new();
    let (pending, signal, noticed) = fence(&rig.runtime, PATIENCE);
    rig.queue(CAPTURE, 0, None);
    rig.queue(OUTPUT, 2, Some(pending));
    rig.queue(OUTPUT, 1, None);
    assert_eq!(rig.next(), None);
    signal.write(1).unwrap();
    noticed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(rig.next(), Some(2));
    assert_eq!(rig.next(), Some(1));
    assert!(rig.sent.try_next().is_none());
}

#[test]
fn buffers_for_coded_frames_wait_too() {
    let mut rig = Rig::new();
    let (pending, signal, noticed) = fence(&rig.runtime, PATIENCE);
    rig.queue(CAPTURE, 3, Some(pending));
    rig.queue(CAPTURE, 0, None);
    rig.queue(OUTPUT, 0, None);
    assert_eq!(rig.next(), None);
    signal.write(1).unwrap();
    noticed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(rig.next(), Some(0));
}

#[test]
fn a_fence_that_fails_gives_the_buffer_back_with_an_error() {
    let mut rig = Rig::new();
    for (type_, index) in [(OUTPUT, 1), (CAPTURE, 2)] {
        let (never, _signal, noticed) = fence(&rig.runtime, Duration::ZERO);
        rig.queue(type_, index, Some(never));
        noticed.recv_timeout(PATIENCE).unwrap();
    }
    rig.queue(OUTPUT, 0, None);
    rig.queue(CAPTURE, 0, None);
    assert_eq!(rig.next(), Some(0), "those behind go on");
    for (type_, index) in [(OUTPUT, 1), (CAPTURE, 2)] {
        let Some(Sent::Dqbuf(buffer, planes)) = rig.sent.try_next() else {
            panic!("no buffer");
        };
        assert_eq!((buffer.type_, buffer.index), (type_, index));
        assert_ne!(buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
        assert_eq!(buffer.flags & V4L2_BUF_FLAG_LAST, 0);
        assert!(type_ == OUTPUT || planes[0].bytesused == 0);
    }
    assert!(rig.sent.try_next().is_none());
}

/// Not even a CAPTURE buffer is needed for that.
#[test]
fn a_frame_that_failed_waits_for_nothing() {
    let mut rig = Rig::new();
    let (never, _signal, noticed) = fence(&rig.runtime, Duration::ZERO);
    rig.queue(OUTPUT, 3, Some(never));
    noticed.recv_timeout(PATIENCE).unwrap();
    assert!(rig.core.has_work());
    assert_eq!(rig.next(), None);
    assert!(matches!(rig.sent.try_next(), Some(Sent::Dqbuf(buffer, _)) if buffer.index == 3));
    assert!(!rig.core.has_work());
}

#[test]
fn a_drain_does_not_wait_for_a_frame_that_failed() {
    let mut rig = Rig::new();
    let (never, _signal, noticed) = fence(&rig.runtime, Duration::ZERO);
    rig.queue(OUTPUT, 0, Some(never));
    rig.core.drain = Drain::Draining { left: 1 };
    noticed.recv_timeout(PATIENCE).unwrap();
    rig.queue(CAPTURE, 0, None);
    assert_eq!(rig.next(), None);
    assert_eq!(rig.core.drain, Drain::Stopped);
}

/// STREAMOFF: nobody waits any more.
#[test]
fn a_fence_goes_with_its_buffer() {
    let mut rig = Rig::new();
    let (pending, _signal, noticed) = fence(&rig.runtime, PATIENCE * 100);
    rig.queue(OUTPUT, 0, Some(pending));
    rig.core.output_off();
    let gone = Err(RecvTimeoutError::Disconnected);
    assert_eq!(noticed.recv_timeout(PATIENCE), gone);
    assert!(rig.core.output.readiness().is_none());
}

/// Of a codec that gives frames out late, too late to code them once more.
#[test]
fn a_frame_that_is_cut_off_says_so_and_the_next_is_to_begin_anew() {
    let mut rig = Rig::new();
    for (size, error) in [(4096, 0), (4097, V4L2_BUF_FLAG_ERROR)] {
        rig.queue(CAPTURE, 0, None);
        rig.core.entered(0, Payload::default());
        rig.core.came_out(CodedFrame {
            data: Box::new(vec![0; size]),
            key: true,
            time: Some(0),
        });
        let Some(Action::Deliver(delivery)) = rig.core.next(true, &rig.events) else {
            panic!("no frame");
        };
        let (bytes, whole) = delivery.copy();
        rig.core.delivered(&delivery, bytes, whole, &rig.events);
        let Some(Sent::Dqbuf(buffer, planes)) = rig.sent.try_next() else {
            panic!("no buffer");
        };
        assert_eq!(planes[0].bytesused, 4096);
        assert_eq!(buffer.flags & V4L2_BUF_FLAG_ERROR, error);
        assert_eq!(rig.core.cut, error != 0);
    }
}
