// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Fields of a payload, and what the device may do to each.

use super::v4l2::{CTRL_FLAG_NEXT_COMPOUND, CTRL_FLAG_NEXT_CTRL};
use core::ops::Range;

/// What the device may do to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Write anything.
    Value,
    /// Write a number up to this one; a larger one becomes this one.
    AtMost(u32),
    /// Write text; its last byte becomes NUL.
    Text,
    /// Take flags away.
    Fewer,
    /// Write the ID of another control, if the next one was asked for.
    Next,
    /// Nothing: it is reserved, and becomes zero.
    Zero,
}

/// Bytes of a structure that the device may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    start: u16,
    end: u16,
    /// What it may do to them.
    pub rule: Rule,
}

const NEXT: u32 = CTRL_FLAG_NEXT_CTRL | CTRL_FLAG_NEXT_COMPOUND;

/// The bytes of a structure from its field `first` to the end of its field `last`; of one field; or
/// `*`, all of them. Who uses this imports [`size_of_field`], too.
macro_rules! span {
    ($ty:ty, *) => {
        0..size_of::<$ty>()
    };
    ($ty:ty, $first:ident to $last:ident) => {
        core::mem::offset_of!($ty, $first)
            ..core::mem::offset_of!($ty, $last) + size_of_field(|it: &$ty| &it.$last)
    };
    ($ty:ty, $field:ident) => {
        span!($ty, $field to $field)
    };
}
pub(super) use span;

/// Size of the field that a function gives a reference to. The function is not called.
pub(super) const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

impl Field {
    /// The bytes in `range`, which is within a payload: they are shorter than 64 KiB.
    pub const fn new(range: Range<usize>, rule: Rule) -> Self {
        assert!(range.end <= u16::MAX as usize);
        Self {
            start: range.start as u16,
            end: range.end as u16,
            rule,
        }
    }

    /// The bytes that it covers.
    pub const fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Asserts that `fields` are in order, do not overlap and end within `size` bytes. For
    /// constants.
    pub(super) const fn check(fields: &[Self], size: usize) {
        let mut end = 0;
        let mut i = 0;
        while i < fields.len() {
            assert!(end <= fields[i].start && fields[i].start < fields[i].end);
            end = fields[i].end;
            i += 1;
        }
        assert!(end as usize <= size);
    }

    /// Changes `ours` to what `theirs` makes of it.
    pub(super) fn apply(&self, ours: &mut [u8], theirs: &[u8]) {
        match self.rule {
            Rule::Value => copy(ours, theirs),
            Rule::AtMost(most) => {
                copy(ours, theirs);
                if number(ours) > most {
                    copy(ours, &most.to_le_bytes());
                }
            }
            Rule::Text => {
                copy(ours, theirs);
                if let Some(last) = ours.last_mut() {
                    *last = 0;
                }
            }
            Rule::Fewer => {
                for (to, from) in ours.iter_mut().zip(theirs) {
                    *to &= *from;
                }
            }
            Rule::Next if number(ours) & NEXT != 0 => copy(ours, theirs),
            Rule::Next => {}
            Rule::Zero => ours.fill(0),
        }
    }
}

/// Copies as many bytes as both have.
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// A number of up to four bytes.
pub(super) fn number(bytes: &[u8]) -> u32 {
    let bytes = bytes.iter().take(4).rev();
    bytes.fold(0, |number, byte| number << 8 | u32::from(*byte))
}
