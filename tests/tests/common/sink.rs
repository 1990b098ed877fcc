// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! An encoder that encodes nothing: for measuring what is around an encoder.

use std::sync::Arc;

use nix::errno::Errno;
use virtio_v4l2d::config::DeviceSpec;
use virtio_v4l2d::device::codec::{
    Change, Codec, CodecBackend, CodedFrame, Frame, FrameSink, PushError, Setup,
};
use virtio_v4l2d::device::encoder::{Encoder, Settings};
use virtio_v4l2d::device::{self, Device};

/// Opens the device that `spec` describes. An encoder is one that encodes nothing.
pub fn open(spec: &DeviceSpec) -> anyhow::Result<Arc<dyn Device>> {
    if spec.kind != "encoder" {
        return device::open(spec);
    }
    let settings = Settings::of(spec)?;
    anyhow::ensure!(
        settings.elements.is_empty() && !settings.by_rank,
        "a sink takes the place of all encoders; leave out --encoder and rank"
    );
    Ok(Arc::new(Encoder::on(settings, Box::new(Sink))))
}

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
struct Sink;

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
