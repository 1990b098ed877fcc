// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What codes frames: the boundary between the state machine and a codec library. It knows no
//! V4L2 queue.

use std::fmt;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::v4l2::{Fract, Rect};

use crate::memory::PlaneMemory;
use crate::v4l2::core::controls::Controls;
use crate::v4l2::core::format::RawFormat;

/// What a codec is made for: how the session stands.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The coded format, `V4L2_PIX_FMT_*`. Fixed while both queues stream, as are `raw` and `crop`.
    pub coded: u32,
    /// The raw format.
    pub raw: RawFormat,
    /// The part of raw frames that is coded.
    pub crop: Rect,
    /// Frame interval.
    pub interval: Fract,
    /// Controls.
    pub controls: Controls,
    /// Bytes that a coded frame may have: those of the smallest buffer.
    pub capacity: u32,
}

/// One V4L2 plane of a frame: its memory, where the frame starts in it, and `bytesused`.
pub type FramePlane = (PlaneMemory, u32, u32);

/// A raw frame to code.
pub struct Frame<'a> {
    /// Where it lies.
    pub planes: &'a [FramePlane],
    /// Button controls that were pressed before the frame was queued, `V4L2_CID_*`.
    pub pressed: &'a [u32],
    /// To be kept for as long as the memory is read. When the last clone is dropped, on whatever
    /// thread, the buffer goes back to the client.
    pub hold: Arc<dyn Send + Sync>,
}

/// A coded frame.
pub struct CodedFrame {
    /// The data.
    pub data: Box<dyn AsRef<[u8]> + Send>,
    /// It can be decoded without any other.
    pub key: bool,
    /// The time under which the raw frame went in, unless the codec has lost it.
    pub time: Option<u64>,
}

impl CodedFrame {
    /// Bytes of data.
    pub fn size(&self) -> usize {
        (*self.data).as_ref().len()
    }
}

impl fmt::Debug for CodedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodedFrame")
            .field("size", &self.size())
            .field("key", &self.key)
            .field("time", &self.time)
            .finish()
    }
}

/// Takes every coded frame, in order, on whatever thread it comes out.
pub type FrameSink = Arc<dyn Fn(CodedFrame) + Send + Sync>;

/// Whether a running codec has taken over a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has.
    Taken,
    /// It will when it starts anew: it is to be flushed.
    Restart,
}

/// Why a frame was not coded. The log says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// This frame cannot be coded; the codec goes on.
    Frame,
    /// The codec failed: all that it held is lost. It starts anew with the next frame.
    Codec,
}

/// Makes codecs.
pub trait CodecBackend: Send + Sync + 'static {
    /// Bytes of memory that a codec takes, an estimate; 0 if they are not worth counting.
    fn memory(&self, setup: &Setup) -> usize;

    /// Starts a codec for a stream, whose coded frames go to `sink`.
    ///
    /// # Errors
    ///
    /// What STREAMON fails with. The log says why.
    fn start(&self, setup: &Setup, sink: FrameSink) -> Result<Box<dyn Codec>, Errno>;
}

/// A codec, from STREAMON to STREAMOFF, on the session's thread. Dropped, it lets go of all frames.
pub trait Codec: Send {
    /// Whether frames in such memory can be pushed as things are. If not, the codec is to be
    /// flushed first.
    fn takes(&self, planes: &[FramePlane]) -> bool {
        let _ = planes;
        true
    }

    /// Codes a frame, or begins to. Before the sink can get what becomes of it, `entered` gets the
    /// time by which it is recognised: times ascend until the codec starts anew.
    ///
    /// # Errors
    ///
    /// The frame is lost, or all are.
    fn push(&mut self, frame: Frame<'_>, entered: &mut dyn FnMut(u64)) -> Result<(), PushError>;

    /// Takes over controls and the frame interval, as far as they may change in a stream.
    fn change(&mut self, setup: &Setup) -> Change;

    /// Gives out every frame that it holds, unless `stop` says that nobody waits for them any more.
    /// It starts anew with the next frame.
    fn flush(&mut self, stop: &dyn Fn() -> bool);

    /// Whether coded frames can be made smaller than they are.
    fn can_shrink(&self) -> bool {
        false
    }

    /// Makes coded frames smaller, whatever the client wants of their quality. The codec starts
    /// anew with the next frame; what it holds is of no use.
    fn shrink(&mut self) {}
}
