// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Answers of the device, merged into what the driver sent.
//!
//! The V4L2 core trusts what it gets back from a driver: it loops over `count`, copies arrays of
//! `length` elements, follows pointers, and converts by `type` for programs of 32 bits. So an
//! answer is never copied whole: what it may change is named by [`TABLE`](super::ioctl::TABLE), by
//! [`format_fields`] and by [`PLANE`]. Counts are bounded by what was sent.

pub use super::field::{Field, Rule};

use super::field::{copy, number, size_of_field, span};
use super::ioctl::{self, Attached, Ioctl};
use super::v4l2::{
    self, is_multiplanar, Buffer, Edid, ExtControl, ExtControls, Format, MetaFormat, PixFormat,
    PixFormatMplane, Plane, PlanePixFormat, SdrFormat, SlicedVbiFormat, VbiFormat, Window,
    EDID_BLOCK, MAX_EDID_BLOCKS, MEMORY_MMAP, VIDEO_MAX_PLANES,
};
use core::mem::offset_of;
use core::ops::Range;

/// Fields of a member of the union in `struct v4l2_format`.
macro_rules! format_fields {
    ($($(#[$doc:meta])* $name:ident = $ty:ident [
        $($rule:ident ($($span:tt)*)),*
    ];)*) => {
        $(
            $(#[$doc])*
            pub const $name: &[Field] =
                &[$(in_format(span!($ty, $($span)*), Rule::$rule),)*];
            const _: () = Field::check($name, size_of::<Format>());
        )*
    };
}

/// A field in the union of `struct v4l2_format`, of which `range` counts from the union's start.
const fn in_format(range: Range<usize>, rule: Rule) -> Field {
    let fmt = offset_of!(Format, fmt);
    Field::new(fmt + range.start..fmt + range.end, rule)
}

format_fields! {
    /// `fmt.pix`, but for `priv`, which is the core's.
    PIX = PixFormat [Value(width to colorspace), Value(flags to xfer_func)];
    /// `fmt.win`, but for its pointers.
    WIN = Window [Value(w to chromakey), Value(global_alpha)];
    /// `fmt.vbi`.
    VBI = VbiFormat [Value(sampling_rate to flags)];
    /// `fmt.sliced`.
    SLICED = SlicedVbiFormat [Value(service_set to service_lines), Value(io_size)];
    /// `fmt.sdr`.
    SDR = SdrFormat [Value(pixelformat to buffersize)];
    /// `fmt.meta`.
    META = MetaFormat [Value(dataformat to bytesperline)];
}

/// `fmt.pix_mp`, but for what is reserved in it and in its planes.
pub const PIX_MP: &[Field] = &[
    in_format(span!(PixFormatMplane, width to colorspace), Rule::Value),
    plane_format(0),
    plane_format(1),
    plane_format(2),
    plane_format(3),
    plane_format(4),
    plane_format(5),
    plane_format(6),
    plane_format(7),
    in_format(
        span!(PixFormatMplane, num_planes),
        Rule::AtMost(VIDEO_MAX_PLANES as u32),
    ),
    in_format(span!(PixFormatMplane, flags to xfer_func), Rule::Value),
];
const _: () = Field::check(PIX_MP, size_of::<Format>());

/// Plane `index` of `fmt.pix_mp`.
const fn plane_format(index: usize) -> Field {
    let plane = offset_of!(PixFormatMplane, plane_fmt) + index * size_of::<PlanePixFormat>();
    let fields = span!(PlanePixFormat, sizeimage to bytesperline);
    in_format(plane + fields.start..plane + fields.end, Rule::Value)
}

/// `struct v4l2_plane` in the answer to QUERYBUF.
pub const PLANE: &[Field] = &[Field::new(
    span!(Plane, bytesused to data_offset),
    Rule::Value,
)];

/// What of a `struct v4l2_format` of `buf_type` (`V4L2_BUF_TYPE_*`) the device may write.
pub const fn format_fields(buf_type: u32) -> &'static [Field] {
    match buf_type {
        v4l2::BUF_TYPE_VIDEO_CAPTURE | v4l2::BUF_TYPE_VIDEO_OUTPUT => PIX,
        v4l2::BUF_TYPE_VIDEO_OVERLAY | v4l2::BUF_TYPE_VIDEO_OUTPUT_OVERLAY => WIN,
        v4l2::BUF_TYPE_VBI_CAPTURE | v4l2::BUF_TYPE_VBI_OUTPUT => VBI,
        v4l2::BUF_TYPE_SLICED_VBI_CAPTURE | v4l2::BUF_TYPE_SLICED_VBI_OUTPUT => SLICED,
        v4l2::BUF_TYPE_VIDEO_CAPTURE_MPLANE | v4l2::BUF_TYPE_VIDEO_OUTPUT_MPLANE => PIX_MP,
        v4l2::BUF_TYPE_SDR_CAPTURE | v4l2::BUF_TYPE_SDR_OUTPUT => SDR,
        v4l2::BUF_TYPE_META_CAPTURE | v4l2::BUF_TYPE_META_OUTPUT => META,
        _ => &[],
    }
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends before the payload does.
    NoPayload,
    /// It has fewer elements of the array than it says, or ends within one.
    Cut,
    /// It says that there are more elements than were asked for.
    TooMany,
}

/// Merges `answer`, which is what follows the response's header, into the payload and the array of
/// `ioctl` as they were sent. `succeeded` says what the header's status is.
///
/// An array may have fewer elements in the answer than in what was sent; the others stay as they
/// are.
///
/// # Errors
///
/// The answer is shorter than it must be. What was sent may be merged in part then, by the same
/// rules.
pub fn merge(
    ioctl: &Ioctl,
    succeeded: bool,
    answer: &[u8],
    payload: &mut [u8],
    array: &mut [u8],
) -> Result<(), Fault> {
    if !ioctl.direction.to_driver() || !(succeeded || ioctl.answers_failure()) {
        return Ok(());
    }
    let merged = match answer.split_at_checked(payload.len()) {
        Some((theirs, elements)) => {
            let sent = Counts::of(ioctl, payload);
            apply(
                fields(ioctl, payload),
                ioctl.pointer(payload),
                payload,
                theirs,
            );
            merge_array(ioctl, succeeded, &sent, payload, array, elements)
        }
        None => Err(Fault::NoPayload),
    };
    // On failure the device may write the header alone, or any part.
    if succeeded {
        merged
    } else {
        Ok(())
    }
}

/// The table's fields, or those of the type.
fn fields(ioctl: &Ioctl, payload: &[u8]) -> &'static [Field] {
    match ioctl.code {
        ioctl::G_FMT | ioctl::S_FMT | ioctl::TRY_FMT => format_fields(word(payload, 0)),
        _ => ioctl.fields,
    }
}

fn apply(fields: &[Field], pointer: Option<usize>, ours: &mut [u8], theirs: &[u8]) {
    for field in fields {
        // A pointer comes back as it was sent; where none stands it may be an offset, which is the
        // device's.
        let range = match pointer {
            Some(at) if field.range().contains(&at) => {
                apply_range(field, field.range().start..at, ours, theirs);
                at + 8..field.range().end
            }
            _ => field.range(),
        };
        apply_range(field, range, ours, theirs);
    }
}

fn apply_range(field: &Field, range: Range<usize>, ours: &mut [u8], theirs: &[u8]) {
    if let (Some(ours), Some(theirs)) = (ours.get_mut(range.clone()), theirs.get(range)) {
        field.apply(ours, theirs);
    }
}

/// Where the number of elements stands in a payload, and what it was when it was sent.
struct Counts {
    at: usize,
    sent: u32,
}

impl Counts {
    fn of(ioctl: &Ioctl, payload: &[u8]) -> Self {
        let at = match ioctl.attached {
            Attached::Planes => offset_of!(Buffer, length),
            Attached::Controls => offset_of!(ExtControls, count),
            Attached::Edid => offset_of!(Edid, blocks),
            Attached::Nothing | Attached::Uuid => return Self { at: 0, sent: 0 },
        };
        Self {
            at,
            sent: word(payload, at),
        }
    }
}

fn merge_array(
    ioctl: &Ioctl,
    succeeded: bool,
    count: &Counts,
    payload: &mut [u8],
    array: &mut [u8],
    theirs: &[u8],
) -> Result<(), Fault> {
    // UUIDs, which nobody wants, may follow.
    let theirs = theirs.get(..array.len()).unwrap_or(theirs);
    match ioctl.attached {
        Attached::Planes if ioctl.code == ioctl::QUERYBUF => {
            if is_multiplanar(word(payload, offset_of!(Buffer, type_))) {
                merge_planes(count, payload, array, theirs)
            } else {
                Ok(())
            }
        }
        Attached::Nothing | Attached::Planes => Ok(()),
        Attached::Controls => {
            let at = offset_of!(ExtControls, error_idx);
            set_word(payload, at, word(payload, at).min(count.sent));
            let gets = ioctl.code == ioctl::G_EXT_CTRLS;
            merge_controls(gets, succeeded, array, theirs)
        }
        Attached::Edid => {
            // With none asked for the device says how many there are.
            let most = match count.sent {
                0 => MAX_EDID_BLOCKS as u32,
                asked => asked,
            };
            let blocks = word(payload, count.at).min(most);
            set_word(payload, count.at, blocks);
            if ioctl.code != ioctl::G_EDID || count.sent == 0 {
                return Ok(());
            }
            copy_elements(EDID_BLOCK, blocks, array, theirs)
        }
        Attached::Uuid => copy_elements(array.len(), 1, array, theirs),
    }
}

/// Takes the first `wanted` elements of `theirs`.
fn copy_elements(size: usize, wanted: u32, array: &mut [u8], theirs: &[u8]) -> Result<(), Fault> {
    let len = (wanted as usize).saturating_mul(size);
    match (array.get_mut(..len), theirs.get(..len)) {
        (Some(ours), Some(theirs)) => copy(ours, theirs),
        _ => return Err(Fault::Cut),
    }
    Ok(())
}

fn merge_planes(
    count: &Counts,
    payload: &mut [u8],
    array: &mut [u8],
    theirs: &[u8],
) -> Result<(), Fault> {
    const SIZE: usize = size_of::<Plane>();
    let planes = word(payload, count.at);
    if planes > count.sent {
        set_word(payload, count.at, count.sent);
        return Err(Fault::TooMany);
    }
    if theirs.len() % SIZE != 0 || theirs.len() / SIZE < planes as usize {
        return Err(Fault::Cut);
    }
    // Where memory is not the device's, `m` says where it is.
    let own = word(payload, offset_of!(Buffer, memory)) == MEMORY_MMAP;
    let pointer = (!own).then_some(offset_of!(Plane, m));
    let elements = array.chunks_exact_mut(SIZE).zip(theirs.chunks_exact(SIZE));
    for (ours, theirs) in elements.take(planes as usize) {
        apply(PLANE, pointer, ours, theirs);
    }
    Ok(())
}

/// Values that stand in the controls themselves are the device's. Of those that stand elsewhere
/// `G_EXT_CTRLS` may say that they are shorter. When it fails it may say how long they are, and
/// nothing else: where a program has said nothing of a size, what looks like a value may be its
/// pointer.
fn merge_controls(
    gets: bool,
    succeeded: bool,
    array: &mut [u8],
    theirs: &[u8],
) -> Result<(), Fault> {
    const SIZE: usize = size_of::<ExtControl>();
    if theirs.len() % SIZE != 0 {
        return Err(Fault::Cut);
    }
    for (ours, theirs) in array.chunks_exact_mut(SIZE).zip(theirs.chunks_exact(SIZE)) {
        let at = offset_of!(ExtControl, size);
        let (sent, says) = (word(ours, at), word(theirs, at));
        if !succeeded {
            if gets {
                set_word(ours, at, says);
            }
        } else if sent == 0 {
            let value = offset_of!(ExtControl, value)..SIZE;
            if let (Some(ours), Some(theirs)) = (ours.get_mut(value.clone()), theirs.get(value)) {
                copy(ours, theirs);
            }
        } else if gets && says < sent {
            set_word(ours, at, says);
        }
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    number(bytes.get(at..at.saturating_add(4)).unwrap_or_default())
}

fn set_word(bytes: &mut [u8], at: usize, word: u32) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(4)) {
        copy(place, &word.to_le_bytes());
    }
}
