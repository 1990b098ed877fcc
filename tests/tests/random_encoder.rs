// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The encoder under random sequences of plausible ioctls: it answers each with an errno that V4L2
//! knows, keeps what it promised, and the next session encodes.

mod common;

use std::time::Duration;

use common::alone;
use common::encoder::{CAPTURE, OUTPUT, config, encoder, works};
use common::leaks::Holdings;
use frontend::{Client, WireEvent};
use nix::errno::Errno;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::wire::ioctl;
use protocol::wire::v4l2::*;
use v4l2r::bindings as v4l2;

#[derive(Clone, Debug)]
enum Op {
    SetFormat {
        type_: u32,
        fourcc: [u8; 4],
        width: u32,
        height: u32,
    },
    GetFormat(u32),
    Crop(i32, i32, u32, u32),
    Interval(u32, u32),
    Request {
        type_: u32,
        count: u32,
    },
    Create {
        type_: u32,
        count: u32,
        size: u32,
    },
    Remove {
        type_: u32,
        index: u32,
        count: u32,
    },
    Query {
        type_: u32,
        index: u32,
    },
    Queue {
        type_: u32,
        index: u32,
        bytesused: u32,
        data_offset: u32,
        planes: u32,
    },
    Prepare {
        type_: u32,
        index: u32,
    },
    On(u32),
    Off(u32),
    Command {
        code: u32,
        cmd: u32,
        flags: u32,
    },
    Subscribe {
        code: u32,
        type_: u32,
        id: u32,
        flags: u32,
    },
    Control {
        code: u32,
        id: u32,
        value: i32,
    },
    Map {
        index: u32,
    },
    Unmap(usize),
    Reopen,
    Wait,
}

fn ops() -> impl Strategy<Value = Op> {
    let type_ = || prop_oneof![8 => select(vec![OUTPUT, CAPTURE]), 1 => 0_u32..16];
    let fourcc = select(vec![
        *b"H264", *b"HEVC", *b"VP80", *b"VP90", *b"NV12", *b"YU12", *b"NM12", *b"YM12", *b"XR24",
        *b"BGR4", *b"YUYV", *b"RGB3", *b"NV21", *b"GREY", *b"????",
    ]);
    let size = || prop_oneof![4 => 0_u32..400, 1 => select(vec![1, 4096, 4097, u32::MAX])];
    let index = || prop_oneof![8 => 0_u32..5, 1 => any::<u32>()];
    let bytes = || prop_oneof![4 => Just(0_u32), 2 => 0_u32..100_000, 1 => any::<u32>()];
    let control = select(vec![
        v4l2::V4L2_CID_MPEG_VIDEO_BITRATE,
        v4l2::V4L2_CID_MPEG_VIDEO_BITRATE_MODE,
        v4l2::V4L2_CID_MPEG_VIDEO_GOP_SIZE,
        v4l2::V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME,
        v4l2::V4L2_CID_MPEG_VIDEO_H264_PROFILE,
        v4l2::V4L2_CID_MPEG_VIDEO_H264_LEVEL,
        v4l2::V4L2_CID_MPEG_VIDEO_H264_I_PERIOD,
        v4l2::V4L2_CID_MPEG_VIDEO_H264_MIN_QP,
        v4l2::V4L2_CID_MPEG_VIDEO_H264_MAX_QP,
        v4l2::V4L2_CID_MPEG_VIDEO_B_FRAMES,
        v4l2::V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE,
        v4l2::V4L2_CID_MIN_BUFFERS_FOR_OUTPUT,
        0,
    ]);
    let data_offset = prop_oneof![8 => Just(0_u32), 1 => bytes()];
    let planes = prop_oneof![8 => Just(1_u32), 1 => 0_u32..9];
    let command = select(vec![ioctl::ENCODER_CMD, ioctl::TRY_ENCODER_CMD]);
    let subscribe = select(vec![ioctl::SUBSCRIBE_EVENT, ioctl::UNSUBSCRIBE_EVENT]);
    let set_or_get = select(vec![ioctl::S_CTRL, ioctl::G_CTRL]);
    prop_oneof![
        3 => (type_(), fourcc, size(), size()).prop_map(|(type_, fourcc, width, height)| {
            Op::SetFormat { type_, fourcc, width, height }
        }),
        1 => type_().prop_map(Op::GetFormat),
        1 => (-20_i32..400, -20_i32..400, size(), size())
            .prop_map(|(x, y, w, h)| Op::Crop(x, y, w, h)),
        1 => (size(), size()).prop_map(|(n, d)| Op::Interval(n, d)),
        4 => (type_(), prop_oneof![8 => 0_u32..6, 1 => any::<u32>()])
            .prop_map(|(type_, count)| Op::Request { type_, count }),
        1 => (type_(), 0_u32..4, size())
            .prop_map(|(type_, count, size)| Op::Create { type_, count, size }),
        1 => (type_(), index(), 0_u32..4)
            .prop_map(|(type_, index, count)| Op::Remove { type_, index, count }),
        1 => (type_(), index()).prop_map(|(type_, index)| Op::Query { type_, index }),
        12 => (type_(), index(), bytes(), data_offset, planes)
            .prop_map(|(type_, index, bytesused, data_offset, planes)| Op::Queue {
                type_, index, bytesused, data_offset, planes,
            }),
        1 => (type_(), index()).prop_map(|(type_, index)| Op::Prepare { type_, index }),
        4 => type_().prop_map(Op::On),
        2 => type_().prop_map(Op::Off),
        4 => (command, prop_oneof![3 => 0_u32..2, 1 => 0_u32..5], 0_u32..3)
            .prop_map(|(code, cmd, flags)| Op::Command { code, cmd, flags }),
        2 => (subscribe, 0_u32..7, control.clone(), 0_u32..4)
            .prop_map(|(code, type_, id, flags)| Op::Subscribe { code, type_, id, flags }),
        4 => (set_or_get, control, prop_oneof![-2_i32..60, any::<i32>()])
            .prop_map(|(code, id, value)| Op::Control { code, id, value }),
        1 => index().prop_map(|index| Op::Map { index }),
        1 => (0_usize..4).prop_map(Op::Unmap),
        1 => Just(Op::Reopen),
        3 => Just(Op::Wait),
    ]
}

/// What the test remembers of its session, to see promises kept.
#[derive(Default)]
struct Model {
    /// Buffers that the device has: type and index. One DQBUF may come for each.
    queued: Vec<(u32, u32)>,
    mapped: Vec<u64>,
}

impl Model {
    /// Takes the events that are there.
    #[track_caller]
    fn look(&mut self, client: &mut Client, session: u32) {
        while let Some(event) = client.poll_event() {
            self.see(&event, session);
        }
    }

    #[track_caller]
    fn see(&mut self, event: &WireEvent, session: u32) {
        // One of a session that was closed in the meantime.
        if event.session() != session {
            return;
        }
        match event {
            WireEvent::Dqbuf(event) => {
                let buffer = (event.buffer.type_, event.buffer.index);
                let at = self.queued.iter().position(|queued| *queued == buffer);
                let at = at.unwrap_or_else(|| panic!("{buffer:?} comes back, and was not queued"));
                self.queued.remove(at);
                assert_eq!(event.buffer.m, 0);
                for plane in event.planes {
                    assert!(plane.bytesused <= plane.length.max(plane.bytesused.min(1)));
                }
            }
            WireEvent::Event(_) => {}
            // An encoder may fail on nonsense; the session says so and ends.
            WireEvent::Error(_) => self.queued.clear(),
        }
    }
}

/// A session of the guest that operations are tried on.
struct Guest<'a> {
    client: &'a mut Client,
    session: u32,
    model: Model,
}

impl Guest<'_> {
    fn run(&mut self, op: &Op) -> Result<(), Errno> {
        let id = self.session;
        match *op {
            Op::SetFormat {
                type_,
                fourcc,
                width,
                height,
            } => self.set_format(type_, fourcc, width, height),
            Op::GetFormat(type_) => self.format(type_).map(|_| ()),
            Op::Crop(left, top, width, height) => self.crop(Rect {
                left,
                top,
                width,
                height,
            }),
            Op::Interval(numerator, denominator) => {
                let mut parm = StreamParm {
                    type_: OUTPUT,
                    timeperframe: Fract {
                        numerator,
                        denominator,
                    },
                    ..StreamParm::default()
                };
                self.client.ioctl(id, ioctl::S_PARM, &mut parm)
            }
            Op::Command { code, cmd, flags } => {
                let mut command = EncoderCmd {
                    cmd,
                    flags,
                    ..EncoderCmd::default()
                };
                self.client.ioctl(id, code, &mut command)
            }
            Op::Subscribe {
                code,
                type_,
                id: control,
                flags,
            } => {
                let mut subscription = EventSubscription {
                    type_,
                    id: control,
                    flags,
                    ..EventSubscription::default()
                };
                self.client.ioctl(id, code, &mut subscription)
            }
            Op::Control {
                code,
                id: control,
                value,
            } => self
                .client
                .ioctl(id, code, &mut Control { id: control, value }),
            Op::Reopen => {
                self.client.close(id);
                self.model.queued.clear();
                self.session = self.client.open()?;
                Ok(())
            }
            Op::Wait => {
                if let Some(event) = self.client.wait_event(Duration::from_millis(5)) {
                    self.model.see(&event, id);
                }
                Ok(())
            }
            _ => self.run_on_buffers(op),
        }
    }

    fn run_on_buffers(&mut self, op: &Op) -> Result<(), Errno> {
        let id = self.session;
        match *op {
            Op::Request { type_, count } => {
                let mut request = RequestBuffers {
                    count,
                    type_,
                    memory: MEMORY_MMAP,
                    ..RequestBuffers::default()
                };
                let result = self.client.ioctl(id, ioctl::REQBUFS, &mut request);
                self.all_back(type_, result)
            }
            Op::Create { type_, count, size } => self.create(type_, count, size),
            Op::Remove {
                type_,
                index,
                count,
            } => {
                let mut remove = RemoveBuffers {
                    index,
                    count,
                    type_,
                    ..RemoveBuffers::default()
                };
                self.client.ioctl(id, ioctl::REMOVE_BUFS, &mut remove)
            }
            Op::Query { type_, index } => {
                let mut buffer = Buffer {
                    index,
                    type_,
                    length: 1,
                    ..Buffer::default()
                };
                let planes = &mut [Plane::default()];
                self.client
                    .buffer(id, ioctl::QUERYBUF, &mut buffer, planes, &[])
            }
            Op::Queue {
                type_,
                index,
                bytesused,
                data_offset,
                planes,
            } => {
                let plane = Plane {
                    bytesused,
                    data_offset,
                    ..Plane::default()
                };
                self.queue((type_, index), plane, planes)
            }
            Op::Prepare { type_, index } => {
                let mut buffer = Buffer {
                    index,
                    type_,
                    memory: MEMORY_MMAP,
                    length: 1,
                    ..Buffer::default()
                };
                let planes = &mut [Plane::default()];
                self.client
                    .buffer(id, ioctl::PREPARE_BUF, &mut buffer, planes, &[])
            }
            Op::On(mut type_) => self.client.ioctl(id, ioctl::STREAMON, &mut type_),
            Op::Off(mut type_) => {
                let result = self.client.ioctl(id, ioctl::STREAMOFF, &mut type_);
                self.all_back(type_, result)
            }
            Op::Map { index } => self.map(index),
            Op::Unmap(at) => self.unmap(at),
            _ => unreachable!("{op:?}"),
        }
    }

    /// After REQBUFS or STREAMOFF of a queue: if it succeeded no event comes for its buffers.
    fn all_back(&mut self, type_: u32, result: Result<(), Errno>) -> Result<(), Errno> {
        if result.is_ok() {
            self.model.look(self.client, self.session);
            self.model.queued.retain(|queued| queued.0 != type_);
        }
        result
    }

    fn set_format(
        &mut self,
        type_: u32,
        fourcc: [u8; 4],
        width: u32,
        height: u32,
    ) -> Result<(), Errno> {
        let mut format = Format {
            type_,
            ..Format::default()
        };
        format.set_pix_mp(&PixFormatMplane {
            width,
            height,
            pixelformat: u32::from_le_bytes(fourcc),
            ..PixFormatMplane::default()
        });
        self.client.ioctl(self.session, ioctl::S_FMT, &mut format)
    }

    fn format(&mut self, type_: u32) -> Result<Format, Errno> {
        let mut format = Format {
            type_,
            ..Format::default()
        };
        self.client.ioctl(self.session, ioctl::G_FMT, &mut format)?;
        Ok(format)
    }

    fn crop(&mut self, r: Rect) -> Result<(), Errno> {
        let empty = Selection {
            type_: BUF_TYPE_VIDEO_OUTPUT,
            ..Selection::default()
        };
        let mut selection = Selection { r, ..empty };
        self.client
            .ioctl(self.session, ioctl::S_SELECTION, &mut selection)?;
        let mut back = empty;
        self.client
            .ioctl(self.session, ioctl::G_SELECTION, &mut back)?;
        assert_eq!(back.r, selection.r);
        Ok(())
    }

    fn create(&mut self, type_: u32, count: u32, size: u32) -> Result<(), Errno> {
        let mut format = self.format(type_)?;
        let mut pix = format.pix_mp();
        pix.plane_fmt[0].sizeimage = pix.plane_fmt[0].sizeimage.wrapping_add(size);
        format.set_pix_mp(&pix);
        let mut create = CreateBuffers {
            count,
            memory: MEMORY_MMAP,
            format,
            ..CreateBuffers::default()
        };
        self.client
            .ioctl(self.session, ioctl::CREATE_BUFS, &mut create)
    }

    fn queue(&mut self, wanted: (u32, u32), plane: Plane, planes: u32) -> Result<(), Errno> {
        let (type_, index) = wanted;
        let mut buffer = Buffer {
            index,
            type_,
            memory: MEMORY_MMAP,
            length: planes,
            ..Buffer::default()
        };
        let count = if is_multiplanar(type_) { planes } else { 0 };
        let mut planes = vec![plane; count as usize];
        let queued = &mut self.model.queued;
        // The event may come before the reply.
        queued.push(wanted);
        let result = self
            .client
            .buffer(self.session, ioctl::QBUF, &mut buffer, &mut planes, &[]);
        if result.is_err() {
            let at = queued.iter().rposition(|queued| *queued == wanted);
            queued.remove(at.expect("a refused buffer came back"));
        } else {
            self.model.look(self.client, self.session);
            let queued = self.model.queued.iter();
            let times = queued.filter(|queued| **queued == wanted).count();
            assert!(times <= 1, "the device took a buffer twice");
        }
        result
    }

    fn map(&mut self, index: u32) -> Result<(), Errno> {
        let mut buffer = Buffer {
            index,
            type_: OUTPUT,
            length: 1,
            ..Buffer::default()
        };
        let mut planes = [Plane::default()];
        self.client
            .buffer(self.session, ioctl::QUERYBUF, &mut buffer, &mut planes, &[])?;
        let mapping = self.client.mmap(self.session, planes[0].m as u32)?;
        assert_eq!(mapping.len, u64::from(planes[0].length));
        // A mapping can be written, whatever becomes of the buffer.
        let shared = &self.client.link.shared;
        shared
            .write(mapping.addr, &vec![0x55; mapping.len as usize])
            .unwrap();
        self.model.mapped.push(mapping.addr);
        Ok(())
    }

    fn unmap(&mut self, at: usize) -> Result<(), Errno> {
        if at < self.model.mapped.len() {
            let addr = self.model.mapped.swap_remove(at);
            self.client.link.shared.write(addr, b"still there").unwrap();
            self.client.munmap(addr)
        } else {
            self.client.munmap(0x1000 * at as u64 + 1)
        }
    }
}

/// What a session that encodes does first, so that sequences begin in the middle of things.
fn opening() -> Vec<Op> {
    let mut ops = Vec::new();
    for (type_, fourcc) in [(CAPTURE, *b"H264"), (OUTPUT, *b"NV12")] {
        let (width, height) = (64, 64);
        ops.push(Op::SetFormat {
            type_,
            fourcc,
            width,
            height,
        });
    }
    for type_ in [OUTPUT, CAPTURE] {
        ops.push(Op::Request { type_, count: 3 });
        ops.push(Op::On(type_));
    }
    for (type_, index) in [(CAPTURE, 0), (CAPTURE, 1), (OUTPUT, 0), (OUTPUT, 1)] {
        ops.push(Op::Queue {
            type_,
            index,
            bytesused: 0,
            data_offset: 0,
            planes: 1,
        });
    }
    ops
}

/// Random operations, in the middle of encoding or from the start.
fn sequences_of_ops() -> impl Strategy<Value = Vec<Op>> {
    (any::<bool>(), vec(ops(), 1..80)).prop_map(|(streaming, ops)| {
        let mut all = if streaming { opening() } else { Vec::new() };
        all.extend(ops);
        all
    })
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn sequences(ops in sequences_of_ops()) {
        let _alone = alone();
        let mut pair = encoder();
        let client = pair.client.as_mut().unwrap();
        let session = client.open().unwrap();
        let mut guest = Guest { client, session, model: Model::default() };
        for op in &ops {
            if let Err(errno) = guest.run(op) {
                use Errno as E;
                let known = matches!(
                    errno,
                    E::EINVAL | E::EBUSY | E::ENOTTY | E::ENOMEM | E::ENOBUFS | E::ERANGE
                        | E::EACCES | E::EPIPE | E::EIO | E::EPERM
                );
                prop_assert!(known, "{:?}: {}", op, errno);
            }
            guest.model.look(guest.client, guest.session);
        }
        // Off is off: nothing of the queues follows.
        for type_ in [OUTPUT, CAPTURE] {
            let _ = guest.run(&Op::Off(type_));
        }
        let Guest { client, session, model } = guest;
        client.close(session);
        works(client);
        let mapped = client.link.shared.mapped();
        // One may be that of the file that all buffers are in.
        prop_assert!(mapped <= model.mapped.len() + 1, "{} mappings", mapped);
        prop_assert!(client.link.shared.violations().is_empty());
        pair.end();
    }
}

/// A long life: what thousands of random commands leave behind is nothing.
#[test]
fn no_memory_is_lost() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config(1), rng);
    let mut batch = |client: &mut Client| {
        for _ in 0..15 {
            let session = client.open().unwrap();
            let ops = sequences_of_ops().new_tree(&mut runner).unwrap().current();
            let mut guest = Guest {
                client,
                session,
                model: Model::default(),
            };
            for op in &ops {
                let _ = guest.run(op);
            }
            for addr in guest.model.mapped.drain(..) {
                guest.client.munmap(addr).unwrap();
            }
            guest.client.close(guest.session);
        }
        works(client);
    };
    // The first batches fill the caches of allocator and GStreamer.
    for _ in 0..3 {
        batch(client);
    }
    let before = Holdings::now();
    for _ in 0..6 {
        batch(client);
    }
    before.assert_back();
    let grown = Holdings::now()
        .anonymous_kb
        .saturating_sub(before.anonymous_kb);
    assert!(grown < 24 << 10, "{grown} kB more are in use");
}
