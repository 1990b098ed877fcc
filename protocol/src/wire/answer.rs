// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Answers of the device, merged into what the driver sent.
//!
//! The V4L2 core trusts what it gets back from a driver: it loops over `count`, copies arrays of
//! `length` elements, follows pointers, and converts by `type` for programs of 32 bits. So an
//! answer is never copied whole: what it may change is named by [`TABLE`](super::ioctl::TABLE), by
//! [`format_fields`] and by [`PLANE`]. Counts are bounded by what was sent.

pub use super::field::{Field, Rule};

use super::field::{copy, number};
use super::ioctl::{self, Attached, Ioctl};
use super::v4l2::{
    is_multiplanar, Buffer, Edid, ExtControl, ExtControls, Plane, EDID_BLOCK, MAX_EDID_BLOCKS,
    MEMORY_MMAP, VIDEO_MAX_PLANES,
};
use core::mem::offset_of;
use core::ops::Range;

const MAX_PLANES: u32 = VIDEO_MAX_PLANES as u32;

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident($size:expr) = [
        $($rule:ident $(($most:expr))? $start:literal .. $end:literal),*
    ];)*) => {
        $(
            $(#[$doc])*
            pub const $name: &[Field] =
                &[$(Field::new($start..$end, Rule::$rule $(($most))?),)*];
            const _: () = Field::check($name, $size);
        )*
    };
}

fields! {
    /// `struct v4l2_plane` in the answer to QUERYBUF: `bytesused`, `length`, `m`, `data_offset`.
    PLANE(64) = [Value 0..20];
    /// `fmt.pix`, but for `priv`, which is the core's.
    PIX(208) = [Value 8..36, Value 40..56];
    /// `fmt.pix_mp`, but for what is reserved in it and in its planes.
    PIX_MP(208) = [
        Value 8..36, Value 48..56, Value 68..76, Value 88..96, Value 108..116, Value 128..136,
        Value 148..156, Value 168..176, AtMost(MAX_PLANES) 188..189, Value 189..193
    ];
    /// `fmt.win`, but for its pointers.
    WIN(208) = [Value 8..32, Value 56..57];
    /// `fmt.vbi`.
    VBI(208) = [Value 8..44];
    /// `fmt.sliced`.
    SLICED(208) = [Value 8..106, Value 108..112];
    /// `fmt.sdr`.
    SDR(208) = [Value 8..16];
    /// `fmt.meta`.
    META(208) = [Value 8..28];
}

/// What of a `struct v4l2_format` of `buf_type` (`V4L2_BUF_TYPE_*`) the device may write.
pub const fn format_fields(buf_type: u32) -> &'static [Field] {
    match buf_type {
        1 | 2 => PIX,
        3 | 8 => WIN,
        4 | 5 => VBI,
        6 | 7 => SLICED,
        9 | 10 => PIX_MP,
        11 | 12 => SDR,
        13 | 14 => META,
        _ => &[],
    }
}

/// Why an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends before the payload does.
    NoPayload,
    /// It has fewer elements of the array than it says, or ends within one.
    Cut,
    /// It says that there are more elements than there was room for.
    TooMany,
}

/// Merges `answer`, which is what follows the response's header, into the payload and the array of
/// `ioctl` as they were sent. `succeeded` says what the header's status is.
///
/// An array may have fewer elements in the answer than there was room for; the others stay as they
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
