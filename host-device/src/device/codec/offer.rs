// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What distinguishes one codec device from another.

use std::fmt;

use super::backend::CodecBackend;
use super::format::CodedKind;
use crate::v4l2::core::controls::Controls;
use crate::v4l2::core::pixel::PixelFormat;

/// What a codec device offers, the same for all of its sessions.
pub struct Offer {
    /// Name of the device, as VIDIOC_QUERYCAP tells; at most 31 bytes.
    pub card: String,
    /// Sessions that may be open at once.
    pub max_sessions: usize,
    /// Coded formats, in the order of VIDIOC_ENUM_FMT.
    pub coded: Vec<CodedKind>,
    /// Raw formats, in the order of VIDIOC_ENUM_FMT.
    pub raw: Vec<&'static PixelFormat>,
    /// Controls of a session that was just opened.
    pub controls: Controls,
    /// The span of a session's log lines, by the session's number.
    pub span: fn(u32) -> tracing::Span,
    /// Name of the thread that codes.
    pub thread: &'static str,
    /// What codes frames.
    pub backend: Box<dyn CodecBackend>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("card", &self.card)
            .field("coded", &self.coded)
            .finish_non_exhaustive()
    }
}
