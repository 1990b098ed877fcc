// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Buffers that wait for other devices, and the order of everything.

use crate::driver::queue::{Nothing, Ready};
use crate::driver::support::*;
use crate::wire::v4l2::{self, MEMORY_MMAP};
use proptest::prelude::*;
use std::collections::VecDeque;

/// A request for a STOP.
const STOP: u64 = 0;

#[test]
fn buffers_wait_in_order() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 3, 1);
    let fence = Gate::new(Ready::Pending);
    let first = session.queue(OUTPUT, 2, Some(fence.clone())).unwrap();
    let second = session.queue(OUTPUT, 0, None).unwrap();
    assert_eq!(session.posted, []);
    assert_eq!(session.flags(OUTPUT, 0), v4l2::BUF_FLAG_QUEUED);
    assert!(session.give_back(OUTPUT, 0, 0, 0).is_err());
    fence.0.set(Ready::Signalled);
    session.advance();
    assert_eq!(session.posted, [first, second]);
}

#[test]
fn a_stop_waits_behind_the_buffers_before_it() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 3, 1);
    let fence = Gate::new(Ready::Pending);
    let first = session.queue(OUTPUT, 0, Some(fence.clone())).unwrap();
    let queue = session.streams.pending_for_stop().unwrap();
    assert!(!queue.stops());
    assert_eq!(queue.wait_stop(STOP), None);
    assert!(queue.stops());
    assert_eq!(queue.wait_stop(STOP), Some(STOP));
    let last = session.queue(OUTPUT, 1, None).unwrap();
    fence.0.set(Ready::Signalled);
    session.advance();
    assert_eq!(session.posted, [first, STOP, last]);
}

#[test]
fn a_stop_does_not_wait_alone() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 1, 1);
    assert!(session.streams.pending_for_stop().is_none());
    let queue = session.streams.get(OUTPUT).unwrap();
    assert_eq!(queue.wait_stop(STOP), Some(STOP));
}

#[test]
fn freezing_posts_the_stop_and_nothing_else() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 2, 1);
    let fence = Gate::new(Ready::Pending);
    let number = session.queue(OUTPUT, 0, Some(fence.clone())).unwrap();
    session.streams.get(OUTPUT).unwrap().wait_stop(STOP);
    session.freeze(OUTPUT);
    assert_eq!(session.posted, [STOP]);
    fence.0.set(Ready::Signalled);
    session.advance();
    assert_eq!(session.posted, [STOP]);
    session.streams.get(OUTPUT).unwrap().thaw();
    session.advance();
    assert_eq!(session.posted, [STOP, number]);
}

#[test]
fn a_failed_fence_is_a_buffer_with_an_error() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 2, 1);
    let fence = Gate::new(Ready::Pending);
    session.queue(OUTPUT, 0, Some(fence.clone())).unwrap();
    let second = session.queue(OUTPUT, 1, None).unwrap();
    fence.0.set(Ready::Failed);
    session.advance();
    assert_eq!(session.posted, [second]);
    assert_eq!(session.dqbuf(OUTPUT), Ok((0, v4l2::BUF_FLAG_ERROR)));
}

#[test]
fn what_cannot_be_posted_is_done_with_an_error() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 1, 1);
    let fence = Gate::new(Ready::Pending);
    session.queue(OUTPUT, 0, Some(fence.clone())).unwrap();
    session.gone = true;
    fence.0.set(Ready::Signalled);
    session.advance();
    assert_eq!(session.dqbuf(OUTPUT), Ok((0, v4l2::BUF_FLAG_ERROR)));
}

#[test]
fn streamoff_ends_waiting() {
    let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 2, 1);
    let fence = Gate::new(Ready::Pending);
    session.queue(OUTPUT, 0, Some(fence.clone())).unwrap();
    session.streams.get(OUTPUT).unwrap().wait_stop(STOP);
    assert_eq!(session.streams.stop(OUTPUT), Some(STOP));
    fence.0.set(Ready::Signalled);
    session.advance();
    assert_eq!(session.posted, []);
    assert_eq!(session.flags(OUTPUT, 0), 0);
}

#[derive(Clone, Debug)]
enum Step {
    /// QBUF, with a fence or not.
    Queue(u32, bool),
    /// The oldest fence is over.
    Signal,
    /// The device returns the n-th of the buffers that it has.
    Return(usize),
    Dequeue,
    /// STREAMOFF and STREAMON.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..6, any::<bool>()).prop_map(|(index, fence)| Step::Queue(index, fence)),
        2 => Just(Step::Signal),
        3 => (0usize..6).prop_map(Step::Return),
        3 => Just(Step::Dequeue),
        1 => Just(Step::Restart),
    ]
}

/// What a queue of buffers is, written down as simply as can be.
#[derive(Default)]
struct Model {
    /// Index, number and fence of those that wait.
    waiting: VecDeque<(u32, u64, Option<Gate>)>,
    with_device: Vec<u32>,
    done: VecDeque<u32>,
    posted: Vec<u64>,
}

impl Model {
    fn has(&self, index: u32) -> bool {
        self.waiting.iter().any(|waiting| waiting.0 == index)
            || self.with_device.contains(&index)
            || self.done.contains(&index)
    }

    fn advance(&mut self) {
        let open = |gate: &Gate| gate.0.get() != Ready::Pending;
        while let Some((index, number, fence)) = self.waiting.pop_front() {
            if !fence.as_ref().is_none_or(open) {
                self.waiting.push_front((index, number, fence));
                break;
            }
            self.posted.push(number);
            self.with_device.push(index);
        }
    }
}

proptest! {
    #[test]
    fn buffers_keep_their_order(steps in proptest::collection::vec(step(), 0..200)) {
        let mut session = Session::with_buffers(OUTPUT, MEMORY_MMAP, 5, 1);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Queue(index, fenced) => {
                    let fence = fenced.then(|| Gate::new(Ready::Pending));
                    let result = session.queue(OUTPUT, index, fence.clone());
                    prop_assert_eq!(result.is_ok(), index < 5 && !model.has(index));
                    if let Ok(number) = result {
                        model.waiting.push_back((index, number, fence));
                    }
                }
                Step::Signal => {
                    let gates = model.waiting.iter().filter_map(|waiting| waiting.2.as_ref());
                    if let Some(gate) = gates.clone().find(|gate| gate.0.get() == Ready::Pending) {
                        gate.0.set(Ready::Signalled);
                    }
                    session.advance();
                }
                Step::Return(nth) if nth < model.with_device.len() => {
                    let index = model.with_device.remove(nth);
                    session.give_back(OUTPUT, index, 0, 0).unwrap();
                    model.done.push_back(index);
                }
                Step::Return(_) => {}
                Step::Dequeue => {
                    let wanted = model.done.pop_front().ok_or(Nothing::Yet);
                    prop_assert_eq!(session.dqbuf(OUTPUT).map(|(index, _)| index), wanted);
                }
                Step::Restart => {
                    session.streams.stop(OUTPUT);
                    session.streams.start(OUTPUT);
                    model = Model { posted: model.posted, ..Model::default() };
                }
            }
            model.advance();
            prop_assert_eq!(&session.posted, &model.posted);
            let readiness = session.streams.readiness(true);
            prop_assert_eq!(readiness.done, !model.done.is_empty());
            prop_assert_eq!(readiness.busy, (0..5).any(|index| model.has(index)));
            for index in 0..5 {
                let queued = session.flags(OUTPUT, index) & v4l2::BUF_FLAG_QUEUED != 0;
                prop_assert_eq!(queued, model.has(index) && !model.done.contains(&index));
            }
        }
    }
}
