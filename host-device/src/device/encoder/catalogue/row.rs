// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the table of codecs is made of.

use gstreamer as gst;

use crate::device::encoder::level;
use crate::device::encoder::params::{Bounds, Params};
use crate::v4l2::core::controls::{Controls, Info};

/// When a property of an element may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the element runs.
    Start,
    /// Also while it runs.
    Live,
}

/// A property of an element, and what it is made of.
#[derive(Clone, Copy)]
pub struct Property {
    /// Its name. Elements that lack it (older versions) are used without it.
    pub name: &'static str,
    /// When it may be set.
    pub when: When,
    /// Its value, written as for gst-launch; `None` leaves the default.
    pub value: fn(&Params) -> Option<String>,
}

/// A property set before the element runs.
pub(super) const fn start(name: &'static str, value: fn(&Params) -> Option<String>) -> Property {
    Property {
        name,
        when: When::Start,
        value,
    }
}

/// A property that may be set at any time.
pub(super) const fn live(name: &'static str, value: fn(&Params) -> Option<String>) -> Property {
    Property {
        name,
        when: When::Live,
        value,
    }
}

pub(super) fn yes_no(value: bool) -> Option<String> {
    Some(value.to_string())
}

pub(super) fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

pub(super) fn number<T: ToString>(value: T) -> Option<String> {
    Some(value.to_string())
}

/// An element that encodes.
#[derive(Clone, Copy)]
pub struct Element {
    /// Name of its factory.
    pub factory: &'static str,
    /// Debian package it comes in.
    pub package: &'static str,
    /// Its properties.
    pub properties: &'static [Property],
    /// What option `preset` may say of its speed; none if it has no such property.
    pub presets: &'static [&'static str],
}

pub(super) const fn element(
    factory: &'static str,
    package: &'static str,
    properties: &'static [Property],
) -> Element {
    Element {
        factory,
        package,
        properties,
        presets: &[],
    }
}

/// What a software encoder takes, in bytes: measured with the elements that come first, and rounded
/// up.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Whatever it encodes.
    pub base: usize,
    /// For each pixel of a frame: what it refers to, and what it works on.
    pub pixel: usize,
    /// For each thread.
    pub thread: usize,
}

/// What a stream can say of its colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Primaries, transfer function and matrix, each by itself.
    Full,
    /// A standard: its matrix, with the primaries and the transfer function that belong to it.
    Matrix,
    /// Nothing: the matrix is BT.601's.
    Nothing,
}

/// A codec: all that is to know of it.
#[derive(Clone, Copy)]
pub struct Row {
    /// Name in options and logs.
    pub name: &'static str,
    /// `V4L2_PIX_FMT_*`.
    pub fourcc: u32,
    /// What the kernel calls it in VIDIOC_ENUM_FMT.
    pub description: &'static str,
    /// Name of its caps.
    pub media: &'static str,
    /// Caps to ask the element for.
    pub caps: fn(&Params) -> gst::Caps,
    /// What stands for a frame that an encoder failed on: a few bytes that decoders skip.
    pub filler: &'static [u8],
    /// Controls of it alone, or of it and others. A session has those of the host's codecs.
    pub controls: &'static [Info],
    /// The controls that bound the quantiser, `V4L2_CID_*`: least, greatest.
    pub qp: (u32, u32),
    /// The control that says how far key frames are apart when it is not zero, `V4L2_CID_*`. If it
    /// is, GOP_SIZE does.
    pub key_period: Option<u32>,
    /// The profile that controls ask for, as caps name it.
    pub profile: fn(&Controls) -> &'static str,
    /// The level that controls ask for, as caps name it, or a higher one that suffices.
    pub level: fn(&Controls, &level::Needs) -> &'static str,
    /// Bounds of its streams.
    pub bounds: Bounds,
    /// What its streams say of their colours.
    pub colours: Colours,
    /// Memory of an encoder.
    pub footprint: Footprint,
    /// Elements, best first.
    pub elements: &'static [Element],
}

impl Row {
    /// Bytes that an encoder of frames of this size takes, with so many threads: an estimate, no
    /// less than what was measured.
    pub fn memory(&self, (width, height): (u32, u32), threads: u32) -> usize {
        let Footprint {
            base,
            pixel,
            thread,
        } = self.footprint;
        let pixels = (width as usize).saturating_mul(height as usize);
        base.saturating_add(pixels.saturating_mul(pixel))
            .saturating_add(thread.saturating_mul(threads as usize))
    }
}
