// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use protocol::wire::v4l2::Timeval;

use super::*;
use crate::device::api::WireMemory;

const SIZES: &[u32] = &[6000, 3000];

type Queue = super::Queue<bool>;

fn queue(count: u32) -> Queue {
    let mut queue = Queue::new(OUTPUT, 1, &Vm::without_guest());
    let mut request = RequestBuffers {
        count,
        memory: MEMORY_MMAP,
        type_: OUTPUT,
        ..Default::default()
    };
    queue.reqbufs(&mut request, SIZES).unwrap();
    assert_eq!(request.count, count);
    queue
}

fn args(index: u32) -> (Buffer, [Plane; 2]) {
    let buffer = Buffer {
        index,
        type_: OUTPUT,
        memory: MEMORY_MMAP,
        timestamp: Timeval {
            tv_sec: 3,
            tv_usec: 4,
        },
        ..Default::default()
    };
    (buffer, [Plane::default(); 2])
}

fn args_of<'a>(buffer: &'a mut Buffer, planes: &'a mut [Plane]) -> BufferArgs<'a> {
    BufferArgs {
        buffer,
        planes,
        memory: WireMemory::Nothing,
    }
}

fn query(queue: &Queue, index: u32) -> Result<Buffer, Errno> {
    let (mut buffer, mut planes) = args(index);
    queue.querybuf(args_of(&mut buffer, &mut planes))?;
    Ok(buffer)
}

#[test]
fn reqbufs_answers_what_there_is() {
    let mut queue = Queue::new(OUTPUT, 1, &Vm::without_guest());
    let ask = |queue: &mut Queue, count, memory| {
        let mut request = RequestBuffers {
            count,
            memory,
            type_: OUTPUT,
            capabilities: u32::MAX,
            flags: 0xff,
            reserved: [0xff; 3],
        };
        let result = queue.reqbufs(&mut request, SIZES);
        assert_eq!(
            request.capabilities, CAPABILITIES,
            "the same for each memory type"
        );
        assert_eq!((request.flags, request.reserved), (0, [0; 3]));
        result.map(|()| request.count)
    };
    for memory in [0, 3, 5, 99] {
        assert_eq!(ask(&mut queue, 1, memory), Err(Errno::EINVAL));
        assert_eq!(ask(&mut queue, 0, memory), Err(Errno::EINVAL));
    }
    assert_eq!(ask(&mut queue, 0, MEMORY_MMAP), Ok(0));
    assert_eq!(ask(&mut queue, 1, MEMORY_MMAP), Ok(1));
    assert_eq!(ask(&mut queue, 1000, MEMORY_MMAP), Ok(32));
    queue.streaming = true;
    assert_eq!(ask(&mut queue, 0, MEMORY_MMAP), Err(Errno::EBUSY));
    queue.streaming = false;
    assert_eq!(ask(&mut queue, 0, MEMORY_MMAP), Ok(0));
    assert_eq!(query(&queue, 0), Err(Errno::EINVAL));
    assert_eq!(queue.streamon(), Err(Errno::EINVAL), "no buffers");
}

fn create(queue: &mut Queue, count: u32, sizes: &[u32]) -> (Result<(), Errno>, u32, u32) {
    let mut create = CreateBuffers {
        count,
        memory: MEMORY_MMAP,
        flags: u32::MAX,
        reserved: [7; 5],
        ..Default::default()
    };
    create.format.type_ = OUTPUT;
    let mut pix = create.format.pix_mp();
    pix.num_planes = sizes.len() as u8;
    for (plane, size) in pix.plane_fmt.iter_mut().zip(sizes) {
        plane.sizeimage = *size;
    }
    create.format.set_pix_mp(&pix);
    let result = queue.create_bufs(&mut create, SIZES);
    assert_eq!((create.flags, create.reserved), (0, [0; 5]));
    assert_eq!(create.max_num_buffers, 32);
    (result, create.index, create.count)
}

#[test]
fn create_bufs_takes_exact_and_larger_sizes() {
    let mut q = queue(2);
    assert_eq!(create(&mut q, 0, &[]), (Ok(()), 2, 0));
    assert_eq!(create(&mut q, 3, SIZES), (Ok(()), 2, 3));
    assert_eq!(create(&mut q, 1, &[6001, 9999]), (Ok(()), 5, 1));
    let (mut buffer, mut planes) = args(5);
    q.querybuf(args_of(&mut buffer, &mut planes)).unwrap();
    assert_eq!(planes.map(|p| p.length), [6001, 9999], "exact length");
    for bad in [
        &[5999, 3000][..],
        &[6000, 0],
        &[6000],
        &[],
        &[6000, 3000, 1],
    ] {
        assert_eq!(create(&mut q, 1, bad).0, Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(create(&mut q, 100, SIZES), (Ok(()), 6, 26));
    assert_eq!(create(&mut q, 1, SIZES).0, Err(Errno::ENOBUFS));
}

#[test]
fn removed_buffers_leave_room_for_new_ones() {
    let mut q = queue(6);
    let remove = |q: &mut Queue, index, count| {
        q.remove_bufs(&mut RemoveBuffers {
            index,
            count,
            type_: OUTPUT,
            reserved: [1; 13],
        })
    };
    assert_eq!(remove(&mut q, 0, 0), Ok(()));
    assert_eq!(remove(&mut q, 5, 2), Err(Errno::EINVAL));
    assert_eq!(remove(&mut q, u32::MAX, 2), Err(Errno::EINVAL));
    let (mut buffer, mut planes) = args(3);
    q.qbuf(
        args_of(&mut buffer, &mut planes),
        Default::default(),
        SIZES,
        false,
    )
    .unwrap();
    assert_eq!(remove(&mut q, 2, 2), Err(Errno::EBUSY));
    assert_eq!(remove(&mut q, 1, 2), Ok(()));
    assert_eq!(query(&q, 1), Err(Errno::EINVAL));
    assert_eq!(q.count(), 4);
    assert_eq!(create(&mut q, 2, SIZES), (Ok(()), 1, 2));
    assert_eq!(create(&mut q, 2, SIZES), (Ok(()), 6, 2));
}

#[test]
fn offsets_are_never_the_same_again() {
    let mut q = queue(2);
    let offsets = |q: &Queue| {
        (0..2)
            .flat_map(|index| {
                let (mut buffer, mut planes) = args(index);
                q.querybuf(args_of(&mut buffer, &mut planes)).unwrap();
                planes.map(|p| p.m as u32)
            })
            .collect::<Vec<u32>>()
    };
    let first = offsets(&q);
    for offset in &first {
        assert_eq!(q.memory(*offset).unwrap().len() % 3000, 0);
        assert!(q.memory(offset + 1).is_none());
    }
    q.reqbufs(
        &mut RequestBuffers {
            count: 2,
            memory: MEMORY_MMAP,
            ..Default::default()
        },
        SIZES,
    )
    .unwrap();
    let second = offsets(&q);
    assert!(first.iter().all(|offset| !second.contains(offset)));
    assert!(q.memory(first[0]).is_none());
}

#[test]
fn payloads_are_checked_as_videobuf2_does() {
    let mut q = queue(2);
    let mut put = |used: [u32; 2], offset: [u32; 2]| {
        let (mut buffer, mut planes) = args(0);
        for (at, plane) in planes.iter_mut().enumerate() {
            plane.bytesused = used[at];
            plane.data_offset = offset[at];
        }
        let result = q.qbuf(
            args_of(&mut buffer, &mut planes),
            Default::default(),
            SIZES,
            false,
        );
        if result.is_ok() {
            assert_eq!(buffer.field, FIELD_NONE, "ANY becomes NONE");
            q.cancel();
        }
        result.map(|()| planes.map(|p| p.bytesused))
    };
    assert_eq!(put([6001, 3000], [0, 0]), Err(Errno::EINVAL));
    assert_eq!(put([3000, 1500], [3000, 1500]), Err(Errno::EINVAL));
    assert_eq!(
        put([6000, 3000], [0, 8]),
        Err(Errno::EINVAL),
        "over the end"
    );
    assert_eq!(put([0, 0], [0, 0]), Ok([6000, 3000]), "0 means full");
    assert_eq!(put([5000, 3000], [0, 0]), Ok([5000, 3000]));
    let (mut buffer, mut planes) = args(0);
    buffer.field = 4;
    assert_eq!(
        q.qbuf(
            args_of(&mut buffer, &mut planes),
            Default::default(),
            SIZES,
            false
        ),
        Err(Errno::EINVAL)
    );
}

#[test]
fn states_follow_each_other() {
    let mut q = queue(1);
    let flags = |q: &Queue| query(q, 0).unwrap().flags & !V4L2_BUF_FLAG_TIMESTAMP_COPY;
    let zero = Timeval::default();
    assert_eq!(flags(&q), 0);
    let (mut buffer, mut planes) = args(0);
    buffer.flags = V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_KEYFRAME;
    q.prepare_buf(args_of(&mut buffer, &mut planes), Vec::new(), SIZES)
        .unwrap();
    assert_eq!(flags(&q), V4L2_BUF_FLAG_PREPARED);
    assert_eq!(query(&q, 0).unwrap().timestamp, zero);
    let (mut buffer, mut planes) = args(0);
    assert_eq!(
        q.prepare_buf(args_of(&mut buffer, &mut planes), Vec::new(), SIZES),
        Err(Errno::EINVAL)
    );
    // Prepared: bytesused is settled, time is not.
    let (mut buffer, mut planes) = args(0);
    buffer.flags = V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_KEYFRAME;
    buffer.timecode.frames = 9;
    planes = planes.map(|mut p| {
        p.bytesused = 0xdead_beef;
        p.data_offset = 0xdead_beef;
        p
    });
    q.qbuf(
        args_of(&mut buffer, &mut planes),
        Default::default(),
        SIZES,
        false,
    )
    .unwrap();
    assert_eq!(
        planes.map(|p| (p.bytesused, p.data_offset)),
        [(6000, 0), (3000, 0)]
    );
    let queued = query(&q, 0).unwrap();
    assert_eq!(queued.timestamp.tv_usec, 4);
    assert_eq!(queued.timecode.frames, 9);
    assert_ne!(queued.flags & V4L2_BUF_FLAG_QUEUED, 0);
    assert_eq!(queued.sequence, 0);
    for again in [true, false] {
        let (mut buffer, mut planes) = args(0);
        let args = args_of(&mut buffer, &mut planes);
        let result = if again {
            q.qbuf(args, Default::default(), SIZES, false)
        } else {
            q.prepare_buf(args, Vec::new(), SIZES)
        };
        assert_eq!(result, Err(Errno::EINVAL));
    }
    let (index, _) = q.take().unwrap();
    assert_ne!(
        flags(&q) & V4L2_BUF_FLAG_QUEUED,
        0,
        "in the encoder is queued"
    );
    let (done, planes) = q.done(index, |_, _| ()).unwrap();
    assert_eq!(done.timestamp.tv_sec, 3);
    assert_eq!(planes.len(), 2);
    assert_eq!(planes[0].bytesused, 6000);
    assert!(q.done(index, |_, _| ()).is_none(), "once");
    assert_eq!(flags(&q), 0);
    assert_eq!(query(&q, 0).unwrap().timestamp, zero);
}

#[test]
fn wrong_buffers_are_refused() {
    let mut q = queue(2);
    let mut put = |edit: &dyn Fn(&mut Buffer), planes: usize| {
        let (mut buffer, _) = args(0);
        edit(&mut buffer);
        let mut planes = vec![Plane::default(); planes];
        q.qbuf(
            args_of(&mut buffer, &mut planes),
            Default::default(),
            SIZES,
            false,
        )
    };
    assert_eq!(put(&|b| b.index = 32, 2), Err(Errno::EINVAL));
    assert_eq!(put(&|b| b.index = u32::MAX, 2), Err(Errno::EINVAL));
    assert_eq!(put(&|b| b.type_ = CAPTURE, 2), Err(Errno::EINVAL));
    assert_eq!(put(&|b| b.memory = 2, 2), Err(Errno::EINVAL));
    assert_eq!(
        put(&|b| b.flags = V4L2_BUF_FLAG_REQUEST_FD, 2),
        Err(Errno::EBADR)
    );
    assert_eq!(put(&|_| (), 1), Err(Errno::EINVAL));
    assert_eq!(put(&|_| (), 9), Err(Errno::EINVAL));
    assert_eq!(put(&|_| (), 8), Ok(()), "room for more is fine");
}
