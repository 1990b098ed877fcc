// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A backend that encodes nothing: for measuring what is around an encoder.

use nix::errno::Errno;

use crate::device::codec::{
    Change, Codec, CodecBackend, CodedFrame, Frame, FrameSink, PushError, Setup,
};

/// Bytes of the access unit.
const SIZE: usize = 256;

/// An access unit of H.264 without a picture: a delimiter, then filler data, which decoders skip.
static UNIT: [u8; SIZE] = {
    let mut unit = [0xff; SIZE];
    let start = [0, 0, 0, 1, 0x09, 0x10, 0, 0, 0, 1, 0x0c];
    let mut at = 0;
    while at < start.len() {
        unit[at] = start[at];
        at += 1;
    }
    unit[SIZE - 1] = 0x80;
    unit
};

/// Makes sinks.
pub struct Sink;

impl CodecBackend for Sink {
    fn memory(&self, _: &Setup) -> usize {
        0
    }

    fn start(&self, _: &Setup, sink: FrameSink) -> Result<Box<dyn Codec>, Errno> {
        Ok(Box::new(Discard { sink, frames: 0 }))
    }
}

/// Gives out the access unit for every frame, whatever the codec.
struct Discard {
    sink: FrameSink,
    frames: u64,
}

impl Codec for Discard {
    fn push(&mut self, frame: Frame<'_>, entered: &mut dyn FnMut(u64)) -> Result<(), PushError> {
        entered(self.frames);
        (self.sink)(CodedFrame {
            data: Box::new(&UNIT[..]),
            key: true,
            time: Some(self.frames),
        });
        self.frames += 1;
        drop(frame);
        Ok(())
    }

    fn change(&mut self, _: &Setup) -> Change {
        Change::Taken
    }

    fn flush(&mut self, _: &dyn Fn() -> bool) {}
}
