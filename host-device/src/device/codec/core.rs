// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The state of a session, and what is to be done next.
//!
//! Nothing here waits or codes. [`Core::next`] decides; the session's codec thread does it, or,
//! while none runs, the call that made it possible.

use std::collections::VecDeque;
use std::time::Instant;

use nix::errno::Errno;
use protocol::wire::v4l2::{Buffer, Plane};

use super::backend::{CodedFrame, FramePlane, Setup};
use super::drain::Drain;
use super::format::{CodedKind, Formats};
use super::stats::Stats;
use crate::events::Events;
use crate::memory::{PlaneMemory, Readiness, Vm};
use crate::v4l2::core::controls::{Controls, Info, Kind};
use crate::v4l2::core::events::Subscriptions;
use crate::v4l2::core::pixel::PixelFormat;
use crate::v4l2::core::queue::{self, COPIED_FLAGS};
use crate::v4l2::core::uapi::*;

/// Buffers that VIDIOC_REQBUFS of the CAPTURE queue makes at least.
///
/// FFmpeg asks for four, and its muxer holds on to about ten. If none is left in the queue at the
/// end of a drain, FFmpeg loses the frames that are still to come.
const MIN_CAPTURE: u32 = 16;

/// What a session keeps with a queued frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Private {
    /// Button controls that were pressed before the frame was queued, `V4L2_CID_*`.
    pub pressed: Vec<u32>,
    /// When the guest's kick arrived that brought the frame.
    pub kicked: Option<Instant>,
}

/// A queue of a session.
pub type Queue = queue::Queue<Private>;
/// What a client said about a frame.
pub type Payload = queue::Payload<Private>;

/// A raw frame to code.
#[derive(Debug)]
pub struct Job {
    /// Index of its OUTPUT buffer.
    pub index: u32,
    /// The queue's epoch when it was taken.
    pub epoch: u64,
    /// Where it lies.
    pub planes: Vec<FramePlane>,
    /// What the client said of it.
    pub payload: Payload,
}

/// A coded frame that waits for a CAPTURE buffer.
#[derive(Debug)]
pub struct Coded {
    /// The frame; `None` when the codec failed on it.
    pub frame: Option<CodedFrame>,
    /// What the client said of the raw frame.
    pub payload: Payload,
    /// When it came out of the codec.
    pub since: Instant,
}

/// A coded frame and the CAPTURE buffer that it goes into.
#[derive(Debug)]
pub struct Delivery {
    /// Index of the CAPTURE buffer.
    index: u32,
    epoch: u64,
    memory: PlaneMemory,
    /// What stands for a frame that failed.
    filler: &'static [u8],
    /// What goes into it.
    pub coded: Coded,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Action {
    /// Copy a coded frame and tell with [`Core::delivered`].
    Deliver(Delivery),
    /// Code a frame.
    Code(Job),
    /// Have the codec give out all that it holds, then tell with [`Core::flushed`].
    Flush,
}

/// The state of a session.
#[derive(Debug)]
pub struct Core {
    /// Formats, crop, frame interval.
    pub formats: Formats,
    /// Controls.
    pub controls: Controls,
    /// Raw frames.
    pub output: Queue,
    /// Coded frames.
    pub capture: Queue,
    /// Drain sequence.
    pub drain: Drain,
    /// Events that the client wants.
    pub subscriptions: Subscriptions,
    /// Coded frames that wait for a CAPTURE buffer. While there are any nothing is coded, so
    /// there are no more than a codec holds.
    coded: VecDeque<Coded>,
    /// Frames inside the codec by their time, oldest first.
    inside: VecDeque<(u64, Payload)>,
    /// Time of the last frame that came out of this codec.
    last_out: Option<u64>,
    /// Button controls that go with the next frame that is queued.
    pub pressed: Vec<u32>,
    /// Something changed that the codec is made for.
    pub changed: bool,
    /// A coded frame was cut off: what comes after it is of no use before the next key frame.
    pub cut: bool,
    /// The codec thread is to end.
    pub stop: bool,
    /// The codec thread waits to be woken.
    pub asleep: bool,
    /// A frame came since both queues stream.
    pub fed: bool,
    /// Counts.
    pub stats: Stats,
}

impl Core {
    /// The state of a session of `vm` that was just opened, which offers these `coded` and `raw`
    /// formats.
    ///
    /// # Errors
    ///
    /// `ENODEV` without a coded format, or without a raw one.
    pub fn new(
        controls: Controls,
        coded: Vec<CodedKind>,
        raw: Vec<&'static PixelFormat>,
        vm: &Vm,
    ) -> Result<Self, Errno> {
        Ok(Self {
            controls,
            formats: Formats::new(coded, raw)?,
            output: Queue::new(OUTPUT, 1, vm),
            capture: Queue::new(CAPTURE, MIN_CAPTURE, vm),
            drain: Drain::Running,
            subscriptions: Subscriptions::new(&[V4L2_EVENT_EOS]),
            coded: VecDeque::new(),
            inside: VecDeque::new(),
            last_out: None,
            pressed: Vec::new(),
            changed: false,
            cut: false,
            stop: false,
            asleep: false,
            fed: false,
            stats: Stats::default(),
        })
    }

    /// Both queues stream from now on.
    pub fn started(&mut self) {
        self.stop = false;
        self.asleep = false;
        self.changed = false;
        self.cut = false;
        self.fed = false;
        self.drain.started();
    }

    /// What a codec is made for, as things are.
    pub fn setup(&self) -> Setup {
        Setup {
            coded: self.formats.coded.kind.fourcc,
            raw: self.formats.raw.clone(),
            crop: self.formats.crop,
            interval: self.formats.interval,
            controls: self.controls.clone(),
            capacity: self.capacity(),
        }
    }

    /// A control was set.
    pub fn control_set(&mut self, info: &Info, events: &Events) {
        if info.kind != Kind::Button {
            self.changed = true;
        } else if !self.pressed.contains(&info.id) {
            self.pressed.push(info.id);
        }
        self.subscriptions.control_set(info, &self.controls, events);
    }

    /// Bytes that a coded frame may have: it must fit into whichever CAPTURE buffer comes next.
    pub fn capacity(&self) -> u32 {
        let usual = self.formats.coded.sizeimage;
        self.capture.min_length(usual).min(usual)
    }

    /// Takes the frame back that just came out of the codec if it is larger than `capacity`
    /// bytes, and nothing else is on its way: what the client said of it.
    pub fn too_large(&mut self, capacity: u32) -> Option<Payload> {
        if !self.inside.is_empty() || self.coded.len() != 1 {
            return None;
        }
        let size = self.coded.front()?.frame.as_ref()?.size();
        if size <= capacity as usize {
            return None;
        }
        self.stats.unframe(size);
        self.coded.pop_front().map(|coded| coded.payload)
    }

    /// Both queues stream.
    pub fn streaming(&self) -> bool {
        self.output.streaming && self.capture.streaming
    }

    /// Whether the codec thread may find something to do, if it looks. True too often costs a
    /// wake, false too often a hang.
    pub fn has_work(&self) -> bool {
        let deliver = !self.coded.is_empty() && self.capture.queued() > 0;
        let code = self.output.queued() > 0 && self.capture.queued() > 0;
        let failed = [&self.output, &self.capture]
            .iter()
            .any(|queue| queue.readiness() == Some(Readiness::Failed));
        self.stop
            || self.capture.streaming
                && (deliver
                    || failed
                    || self.coded.is_empty()
                        && (self.drain.all_taken() || code && self.drain.may_code()))
    }

    /// Frames that could be coded one after the other as things are.
    pub fn can_code(&self) -> usize {
        self.output.queued().min(self.capture.queued())
    }

    /// What is to be done next, if anything; `codec` says that one runs. Ends a drain on the way.
    pub fn next(&mut self, codec: bool, events: &Events) -> Option<Action> {
        if !self.capture.streaming {
            return None;
        }
        self.give_up(events);
        let capacity = self.capture.readiness() == Some(Readiness::Ready);
        if capacity && let Some(coded) = self.coded.pop_front() {
            let epoch = self.capture.epoch;
            let (index, slot) = self.capture.take()?;
            let memory = slot.planes.first()?.memory.clone()?;
            return Some(Action::Deliver(Delivery {
                index,
                epoch,
                memory,
                filler: self.formats.coded.kind.filler,
                coded,
            }));
        }
        if !self.coded.is_empty() {
            return None;
        }
        if self.drain.all_taken() {
            if !self.inside.is_empty() {
                return codec.then_some(Action::Flush);
            }
            self.end_drain(events);
            return None;
        }
        let raw = self.output.readiness() == Some(Readiness::Ready);
        if !codec || !raw || !capacity || !self.drain.may_code() {
            return None;
        }
        let epoch = self.output.epoch;
        let (index, slot) = self.output.take()?;
        let memory = slot.planes.iter().filter_map(|plane| plane.memory.clone());
        let planes = memory
            .zip(&slot.payload.planes)
            .map(|(memory, (bytesused, offset))| (memory, *offset, *bytesused))
            .collect();
        let job = Job {
            index,
            epoch,
            planes,
            payload: slot.payload.clone(),
        };
        self.drain.taken();
        self.stats.taken += 1;
        self.fed = true;
        Some(Action::Code(job))
    }

    /// Gives buffers back whose memory will not be ready: with an error, and with nothing in them.
    fn give_up(&mut self, events: &Events) {
        while self.output.readiness() == Some(Readiness::Failed) {
            self.drain.taken();
            give_up(&mut self.output, events);
        }
        while self.capture.readiness() == Some(Readiness::Failed) {
            give_up(&mut self.capture, events);
        }
    }

    /// All data is out: one EOS event, then an empty LAST buffer. With no CAPTURE buffer queued
    /// both wait.
    fn end_drain(&mut self, events: &Events) {
        let Some((index, _)) = self.capture.take() else {
            return;
        };
        // A stream that never had a frame has no end to tell of. v4l2-compliance makes two of
        // those, leaves their events in the queue, and then takes one for an EOS that no STOP asked
        // for.
        if self.fed {
            self.subscriptions.notify(V4L2_EVENT_EOS, events);
        }
        let done = self.capture.done(index, |buffer, _| {
            buffer.flags |= V4L2_BUF_FLAG_LAST;
            buffer.field = FIELD_NONE;
        });
        if let Some((buffer, planes)) = done {
            events.dqbuf(buffer, &planes);
        }
        self.drain = Drain::Stopped;
        tracing::debug!("drained");
    }

    /// A frame goes into the codec under this `time`.
    pub fn entered(&mut self, time: u64, payload: Payload) {
        // Times ascend, and start anew with each codec.
        if self.last_out >= Some(time) {
            self.last_out = None;
        }
        self.inside.push_back((time, payload));
    }

    /// A frame came out of the codec.
    pub fn came_out(&mut self, frame: CodedFrame) {
        // Exactly one CAPTURE buffer per frame: a frame that nobody put in, or that was given up
        // because a later one came out before it, has none.
        let Some(at) = self.position(frame.time) else {
            tracing::warn!("the codec gave out a frame too many; it is left out");
            return;
        };
        // Nothing is reordered, so those before it will not come any more.
        let lost: Vec<_> = self.inside.drain(..at).collect();
        self.lose(lost);
        let Some((time, payload)) = self.inside.pop_front() else {
            return;
        };
        self.last_out = Some(time);
        let since = Instant::now();
        self.stats.frame(frame.size(), since);
        self.coded.push_back(Coded {
            frame: Some(frame),
            payload,
            since,
        });
    }

    /// Which of the frames inside came out with this `time`. A codec that loses times, or sets
    /// others, gives frames out in order.
    fn position(&self, time: Option<u64>) -> Option<usize> {
        let found =
            time.and_then(|time| self.inside.iter().position(|(inside, _)| *inside == time));
        let late = time.is_some() && time <= self.last_out;
        let oldest = (!late && !self.inside.is_empty()).then_some(0);
        found.or(oldest)
    }

    /// A frame that could not even be given to the codec.
    pub fn refused(&mut self, payload: Payload) {
        // Once: a guest must not be able to fill the log.
        if self.stats.failed == 0 {
            tracing::warn!("the codec failed on a frame: its CAPTURE buffer carries an error");
        }
        self.stats.failed += 1;
        self.coded.push_back(Coded {
            frame: None,
            payload,
            since: Instant::now(),
        });
    }

    /// The codec gave out all that it can: what is still inside is lost to it.
    pub fn flushed(&mut self) {
        let lost = std::mem::take(&mut self.inside);
        self.lose(lost);
    }

    fn lose(&mut self, frames: impl IntoIterator<Item = (u64, Payload)>) {
        for (_, payload) in frames {
            self.refused(payload);
        }
    }

    /// The codec let go of a raw frame. Returns what DQBUF answers.
    pub fn released(&mut self, index: u32, epoch: u64) -> Option<(Buffer, Vec<Plane>)> {
        if self.output.epoch != epoch {
            // STREAMOFF gave the buffer back already.
            return None;
        }
        self.output.done(index, |_, _| ())
    }

    /// A coded frame was copied: `bytes` of it, all of it if `whole`.
    pub fn delivered(&mut self, delivery: &Delivery, bytes: usize, whole: bool, events: &Events) {
        if self.capture.epoch != delivery.epoch {
            return;
        }
        if !whole && delivery.coded.frame.is_some() {
            if self.stats.overflowed == 0 {
                tracing::warn!(
                    "a coded frame is cut off at the {bytes} bytes of its CAPTURE buffer"
                );
            }
            self.stats.overflowed += 1;
            self.cut = true;
        }
        let payload = &delivery.coded.payload;
        let done = self.capture.done(delivery.index, |buffer, planes| {
            buffer.field = FIELD_NONE;
            buffer.timestamp = payload.timestamp;
            buffer.timecode = payload.timecode;
            buffer.flags |= payload.flags & COPIED_FLAGS;
            buffer.flags |= match &delivery.coded.frame {
                Some(frame) if frame.key => V4L2_BUF_FLAG_KEYFRAME,
                Some(_) => V4L2_BUF_FLAG_PFRAME,
                None => 0,
            };
            if !whole {
                buffer.flags |= V4L2_BUF_FLAG_ERROR;
            }
            if let Some(plane) = planes.first_mut() {
                plane.bytesused = bytes as u32;
            }
        });
        if let Some((buffer, planes)) = done {
            events.dqbuf(buffer, &planes);
        }
    }

    /// STREAMOFF of the OUTPUT queue, after the codec ended: frames that are not coded yet are
    /// gone.
    pub fn output_off(&mut self) {
        self.stats.discarded += self.inside.len() as u64;
        self.inside.clear();
        self.output.cancel();
        self.drain.output_off();
    }

    /// STREAMOFF of the CAPTURE queue, after the codec ended: what is coded is gone, and a drain is
    /// off.
    pub fn capture_off(&mut self) {
        let waiting = self
            .coded
            .iter()
            .filter(|coded| coded.frame.is_some())
            .count() as u64;
        tracing::debug!("{waiting} coded frames discarded by STREAMOFF");
        self.stats.discarded += self.inside.len() as u64;
        self.inside.clear();
        self.coded.clear();
        self.capture.cancel();
        self.drain = Drain::Running;
    }
}

/// Gives the oldest buffer of `queue` back with an error.
fn give_up(queue: &mut Queue, events: &Events) {
    let done = queue.take().map(|(index, _)| index).and_then(|index| {
        queue.done(index, |buffer, _| {
            buffer.field = FIELD_NONE;
            buffer.flags |= V4L2_BUF_FLAG_ERROR;
        })
    });
    if let Some((buffer, planes)) = done {
        events.dqbuf(buffer, &planes);
    }
}

impl Delivery {
    /// Copies the frame into the CAPTURE buffer. Returns how many bytes, and whether that is all of
    /// it.
    ///
    /// A frame that failed leaves the filler: an empty buffer would be the end of the stream for a
    /// client.
    pub fn copy(&self) -> (usize, bool) {
        let Some(frame) = &self.coded.frame else {
            return (self.write(self.filler), false);
        };
        match (*frame.data).as_ref() {
            [] => (self.write(self.filler), false),
            data => {
                let copied = self.write(data);
                (copied, copied == data.len())
            }
        }
    }

    fn write(&self, data: &[u8]) -> usize {
        let len = data.len().min(self.memory.len());
        let fits = data.get(..len).unwrap_or_default();
        match self.memory.write_at(0, fits) {
            Ok(()) => len,
            Err(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
