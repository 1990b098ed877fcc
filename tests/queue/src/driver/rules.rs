// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What clients may do, and what they are told.

use crate::driver::queue::{Clock, Fate, Nothing, Slot, Slots, Span};
use crate::driver::support::*;
use crate::prelude::{Error, EBUSY, EINVAL, EIO, EPIPE, GFP_KERNEL_ACCOUNT};
use crate::wire::v4l2::{self, Plane, Timeval, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR};

#[test]
fn a_buffer_goes_round() {
    let mut session = Session::with_buffers(CAPTURE, MEMORY_MMAP, 2, 1);
    assert_eq!(session.flags(CAPTURE, 1), 0);
    let number = session.queue(CAPTURE, 1, None).unwrap();
    assert_eq!(session.posted, [number]);
    assert_eq!(session.flags(CAPTURE, 1), v4l2::BUF_FLAG_QUEUED);
    assert_eq!(session.queue(CAPTURE, 1, None), Err(EINVAL));
    assert_eq!(session.dqbuf(CAPTURE), Err(Nothing::Yet));
    session.give_back(CAPTURE, 1, 100, 0).unwrap();
    assert_eq!(session.flags(CAPTURE, 1), v4l2::BUF_FLAG_DONE);
    assert_eq!(session.dqbuf(CAPTURE), Ok((1, 0)));
    assert_eq!(session.flags(CAPTURE, 1), 0);
    assert_eq!(session.dqbuf(CAPTURE), Err(Nothing::Yet));
}

#[test]
fn the_device_returns_only_what_it_has() {
    let mut session = Session::with_buffers(CAPTURE, MEMORY_MMAP, 2, 1);
    assert_eq!(session.give_back(CAPTURE, 0, 0, 0), Err(EINVAL));
    assert_eq!(session.give_back(CAPTURE, 7, 0, 0), Err(EINVAL));
    session.queue(CAPTURE, 0, None).unwrap();
    session.give_back(CAPTURE, 0, 0, 0).unwrap();
    assert_eq!(session.give_back(CAPTURE, 0, 0, 0), Err(EINVAL));
}

#[test]
fn a_payload_beyond_the_plane_is_an_error() {
    let mut session = Session::with_buffers(CAPTURE, MEMORY_MMAP, 1, 1);
    session.queue(CAPTURE, 0, None).unwrap();
    session.give_back(CAPTURE, 0, LENGTH + 1, 0).unwrap();
    assert_eq!(session.dqbuf(CAPTURE), Ok((0, v4l2::BUF_FLAG_ERROR)));
}

#[test]
fn a_refused_qbuf_comes_back_with_an_error() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 1, 1);
    let number = session.queue(OUTPUT, 0, None).unwrap();
    let answered = session.streams.answered(OUTPUT, 0, number, true, number);
    assert!(answered.done);
    assert_eq!(answered.left, None);
    assert_eq!(session.dqbuf(OUTPUT), Ok((0, v4l2::BUF_FLAG_ERROR)));
}

#[test]
fn a_late_answer_is_no_answer_to_a_later_qbuf() {
    let mut session = Session::with_buffers(CAPTURE, MEMORY_MMAP, 1, 1);
    let first = session.queue(CAPTURE, 0, None).unwrap();
    session.give_back(CAPTURE, 0, 1, 0).unwrap();
    session.dqbuf(CAPTURE).unwrap();
    session.queue(CAPTURE, 0, None).unwrap();
    let answered = session.streams.answered(CAPTURE, 0, first, true, first);
    assert!(!answered.done);
    assert_eq!(answered.left, Some(first));
    assert_eq!(session.flags(CAPTURE, 0), v4l2::BUF_FLAG_QUEUED);
}

#[test]
fn a_request_that_is_replaced_comes_back() {
    let mut session = Session::with_buffers(CAPTURE, MEMORY_MMAP, 1, 1);
    let number = session.queue(CAPTURE, 0, None).unwrap();
    let first = session.streams.answered(CAPTURE, 0, number, false, 70);
    assert_eq!(first.left, None);
    let second = session.streams.answered(CAPTURE, 0, number, false, 71);
    assert_eq!(second.left, Some(70));
}

#[test]
fn dqbuf_wants_a_stream_and_ends_after_the_last_buffer() {
    let mut session = Session::new();
    session.reqbufs(CAPTURE, MEMORY_MMAP, 2, 1);
    assert_eq!(session.dqbuf(CAPTURE), Err(Nothing::Ever(EINVAL)));
    session.streams.start(CAPTURE);
    session.queue(CAPTURE, 0, None).unwrap();
    session.queue(CAPTURE, 1, None).unwrap();
    session
        .give_back(CAPTURE, 0, 0, v4l2::BUF_FLAG_LAST)
        .unwrap();
    assert_eq!(session.dqbuf(CAPTURE), Ok((0, v4l2::BUF_FLAG_LAST)));
    assert_eq!(session.dqbuf(CAPTURE), Err(Nothing::Ever(EPIPE)));
    session.streams.resume();
    assert_eq!(session.dqbuf(CAPTURE), Err(Nothing::Yet));
    session.streams.stop(CAPTURE);
    assert_eq!(session.dqbuf(CAPTURE), Err(Nothing::Ever(EINVAL)));
    assert_eq!(session.flags(CAPTURE, 1), 0);
}

#[test]
fn planes_and_payloads_are_checked() {
    let mut session = Session::with_buffers(OUTPUT_MPLANE, MEMORY_MMAP, 1, 2);
    let (buffer, planes, _) = session.argument(OUTPUT_MPLANE, 0);
    let refused = |session: &mut Session, planes: &[Plane]| session.qbuf(&buffer, planes, None);
    assert_eq!(refused(&mut session, &planes[..1]), Err(EINVAL));
    let mut long = planes;
    long[1].bytesused = LENGTH + 1;
    assert_eq!(refused(&mut session, &long[..2]), Err(EINVAL));
    let mut offset = planes;
    (offset[1].bytesused, offset[1].data_offset) = (8, 8);
    assert_eq!(refused(&mut session, &offset[..2]), Err(EINVAL));
    offset[1].data_offset = 7;
    assert!(refused(&mut session, &offset[..2]).is_ok());
}

#[test]
fn what_is_not_the_clients_to_say_is_refused() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 1, 1);
    let (buffer, _, _) = session.argument(OUTPUT, 0);
    let with = |change: &dyn Fn(&mut crate::wire::v4l2::Buffer)| {
        let mut changed = buffer;
        change(&mut changed);
        changed
    };
    let memory = with(&|buffer| buffer.memory = MEMORY_USERPTR);
    assert_eq!(session.qbuf(&memory, &[], None), Err(EINVAL));
    let field = with(&|buffer| buffer.field = 7);
    assert_eq!(session.qbuf(&field, &[], None), Err(EINVAL));
    let request = with(&|buffer| buffer.flags = v4l2::BUF_FLAG_REQUEST_FD);
    assert_eq!(
        session.qbuf(&request, &[], None),
        Err(Error::from_errno(-53))
    );
    let index = with(&|buffer| buffer.index = 1);
    assert_eq!(session.qbuf(&index, &[], None), Err(EINVAL));
    for buf_type in [0, 15, u32::MAX] {
        let kind = with(&|buffer| buffer.type_ = buf_type);
        assert_eq!(session.qbuf(&kind, &[], None), Err(EINVAL));
    }
    assert!(session.qbuf(&buffer, &[], None).is_ok());
}

#[test]
fn clients_and_device_have_numbers_of_their_own_for_planes() {
    let mut session = Session::with_buffers(CAPTURE_MPLANE, MEMORY_MMAP, 3, 2);
    let (buffer, planes, count) = session.argument(CAPTURE_MPLANE, 2);
    let queue = session.streams.get(CAPTURE_MPLANE).unwrap();
    let wire = queue.build(&buffer, &planes[..count], None, false).unwrap();
    assert_eq!(wire.planes[1].m, described(CAPTURE_MPLANE, 2, 2).1[1].m);
    for (at, plane) in planes.iter().enumerate().take(2) {
        let found = session.streams.mappable_at(plane.m).unwrap();
        assert_eq!(
            (found.buf_type, found.index, found.plane),
            (CAPTURE_MPLANE, 2, at)
        );
        assert_eq!(found.at, wire.planes[at].m);
        assert_eq!(
            session.flags(CAPTURE_MPLANE, 2) & v4l2::BUF_FLAG_MAPPED,
            v4l2::BUF_FLAG_MAPPED
        );
    }
    assert_eq!(session.flags(CAPTURE_MPLANE, 2) & v4l2::BUF_FLAG_MAPPED, 0);
    assert_eq!(session.streams.mappable_at(u64::MAX).err(), Some(EINVAL));
}

#[test]
fn a_client_sees_its_pointer_and_the_device_does_not() {
    for memory in [MEMORY_USERPTR, MEMORY_DMABUF] {
        let mut session = Session::with_buffers(OUTPUT, memory, 1, 1);
        let (mut buffer, _, _) = session.argument(OUTPUT, 0);
        (buffer.memory, buffer.m, buffer.length) = (memory, 0x7fff_0000, LENGTH);
        let queue = session.streams.get(OUTPUT).unwrap();
        let wanted = queue.import_request(&buffer, &[], false, 1).unwrap();
        let imported = crate::driver::queue::Imported {
            wire_memory: MEMORY_USERPTR,
            lengths: wanted.layout.lengths,
        };
        let wire = queue.build(&buffer, &[], Some(&imported), false).unwrap();
        assert_eq!((wire.buffer.m, wire.buffer.memory), (0, MEMORY_USERPTR));
        assert_eq!(session.argument(OUTPUT, 0).0.m, 0x7fff_0000);
    }
}

#[test]
fn create_bufs_fills_gaps_that_remove_bufs_leaves() {
    let mut session = Session::with_buffers(CAPTURE, MEMORY_MMAP, 4, 1);
    session.queue(CAPTURE, 1, None).unwrap();
    let queue = session.streams.get(CAPTURE).unwrap();
    assert_eq!(queue.check_remove(0, 2), Err(EBUSY));
    assert_eq!(queue.check_remove(3, 2), Err(EINVAL));
    assert_eq!(queue.check_remove(u32::MAX, 2), Err(EINVAL));
    assert_eq!(queue.check_remove(2, 2), Ok(()));
    let mut removed = Slots::with_capacity(2, GFP_KERNEL_ACCOUNT).unwrap();
    queue.remove(2, 2, &mut removed);
    assert_eq!(removed.iter().flatten().count(), 2);
    assert_eq!(queue.check_remove(2, 1), Err(EINVAL));

    let mut new = new_slots(CAPTURE, 2, 3, 1);
    let mut slots = Slots::with_capacity(5, GFP_KERNEL_ACCOUNT).unwrap();
    assert_eq!(queue.extend(2, &mut new, &mut slots), Ok(()));
    assert_eq!(queue.len(), 5);
    let mut again = new_slots(CAPTURE, 4, 1, 1);
    let mut slots = Slots::with_capacity(5, GFP_KERNEL_ACCOUNT).unwrap();
    assert_eq!(queue.extend(4, &mut again, &mut slots), Err(EIO));
    for index in [2, 3, 4] {
        session.queue(CAPTURE, index, None).unwrap();
    }
    assert_eq!(session.flags(CAPTURE, 1), v4l2::BUF_FLAG_QUEUED);
}

#[test]
fn reqbufs_replaces_all() {
    let mut session = Session::with_buffers(CAPTURE, MEMORY_MMAP, 2, 1);
    session.queue(CAPTURE, 0, None).unwrap();
    session.reqbufs(CAPTURE, MEMORY_MMAP, 1, 1);
    assert_eq!(session.flags(CAPTURE, 0), 0);
    assert_eq!(session.give_back(CAPTURE, 0, 0, 0), Err(EINVAL));
    assert_eq!(session.dqbuf(CAPTURE), Err(Nothing::Ever(EINVAL)));
    session.reqbufs(CAPTURE, MEMORY_MMAP, 0, 1);
    assert!(!session.streams.get(CAPTURE).unwrap().has_buffers());
}

#[test]
fn a_device_cannot_describe_buffers_without_planes_or_with_too_many() {
    for planes in [0, 9] {
        let (mut buffer, array) = described(CAPTURE_MPLANE, 0, 1);
        buffer.length = planes;
        assert_eq!(Slot::<u64, Gate>::new(&buffer, &array).err(), Some(EIO));
    }
}

#[test]
fn memory_is_forgotten_when_other_memory_was_accepted() {
    let mut span = Span::default();
    let mut fate = Fate::default();
    assert!(!span.is_remembered(fate));
    span.extend(3);
    span.extend(5);
    assert!(span.is_remembered(fate));
    fate.resolve(5, true);
    assert!(span.is_remembered(fate));
    fate.resolve(6, false);
    assert!(span.is_remembered(fate));
    fate.resolve(7, true);
    assert!(!span.is_remembered(fate));

    let mut refused = Span::default();
    refused.extend(9);
    fate.resolve(9, false);
    assert!(!refused.is_remembered(fate));
}

#[test]
fn times_are_neither_in_the_future_nor_before_the_last() {
    let stamp = |us: i64| Timeval {
        tv_sec: us / 1_000_000,
        tv_usec: us % 1_000_000,
    };
    let us = |time: Timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    let mut clock = Clock::new();
    let mut last = 0;
    assert_eq!(us(clock.translate(stamp(5_000_000), &mut last, 100)), 100);
    // It arrives 30 later than the first did.
    assert_eq!(us(clock.translate(stamp(5_000_050), &mut last, 180)), 150);
    assert_eq!(us(clock.translate(stamp(4_000_000), &mut last, 190)), 150);
    assert_eq!(us(clock.translate(stamp(i64::MAX), &mut last, 200)), 200);
    assert_eq!(us(clock.translate(stamp(0), &mut last, 210)), 0);
}
