// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a control is: its type, its bounds, and the values that it takes.

use nix::errno::Errno;

use crate::v4l2::core::uapi::*;

/// Type of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Integer,
    /// 0 or 1.
    Boolean,
    /// An item of a list.
    Menu,
    /// An action.
    Button,
    /// Heading of a class; no control.
    Class,
}

impl Kind {
    /// `enum v4l2_ctrl_type`.
    pub const fn number(self) -> u32 {
        match self {
            Self::Integer => 1,
            Self::Boolean => 2,
            Self::Menu => 3,
            Self::Button => 4,
            Self::Class => 6,
        }
    }
}

/// A control.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// `V4L2_CID_*`.
    pub id: u32,
    /// What the kernel calls it.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Least value.
    pub min: i32,
    /// Greatest value.
    pub max: i32,
    /// Distance of values.
    pub step: u32,
    /// Value of a new session.
    pub default: i32,
    /// `V4L2_CTRL_FLAG_*`.
    pub flags: u32,
    /// Items of a menu.
    pub items: &'static [&'static str],
    /// Items that are there: a bit for each.
    pub mask: u32,
}

impl Info {
    /// Name of item `index` of a menu, if it is there.
    pub fn item(&self, index: i32) -> Option<&'static str> {
        if self.kind != Kind::Menu || !(self.min..=self.max).contains(&index) {
            return None;
        }
        let at = u32::try_from(index).ok()?;
        if self.mask.checked_shr(at)? & 1 == 0 {
            return None;
        }
        self.items.get(at as usize).copied()
    }

    /// The value that setting `value` stores: numbers are clamped.
    ///
    /// # Errors
    ///
    /// `ERANGE` outside of a menu, `EINVAL` for an item that is not there.
    pub fn validate(&self, value: i32) -> Result<i32, Errno> {
        match self.kind {
            Kind::Integer => {
                let step = i64::from(self.step.max(1));
                let min = i64::from(self.min);
                let clamped = i64::from(value).clamp(min, self.max.into());
                let rounded = min + (clamped - min + step / 2) / step * step;
                let fits = rounded.min(self.max.into());
                Ok(i32::try_from(fits).unwrap_or(self.max))
            }
            Kind::Boolean => Ok(i32::from(value != 0).clamp(self.min, self.max)),
            Kind::Menu if !(self.min..=self.max).contains(&value) => Err(Errno::ERANGE),
            Kind::Menu => self.item(value).map(|_| value).ok_or(Errno::EINVAL),
            Kind::Button | Kind::Class => Ok(0),
        }
    }
}

/// The heading of a class of controls.
pub const fn class(id: u32, name: &'static str) -> Info {
    Info {
        id,
        name,
        kind: Kind::Class,
        min: 0,
        max: 0,
        step: 0,
        default: 0,
        flags: V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY,
        items: &[],
        mask: 0,
    }
}

/// A number from `min` to `max`.
pub const fn integer(id: u32, name: &'static str, (min, max): (i32, i32), default: i32) -> Info {
    Info {
        kind: Kind::Integer,
        min,
        max,
        step: 1,
        default,
        flags: 0,
        ..class(id, name)
    }
}

/// A number that is 0 or 1; `min` and `max` may leave only one of them.
pub const fn boolean(id: u32, name: &'static str, (min, max): (i32, i32), default: i32) -> Info {
    Info {
        kind: Kind::Boolean,
        ..integer(id, name, (min, max), default)
    }
}

/// A menu as the kernel makes standard menus: from 0, with `mask` of the items that are there, a
/// bit for each.
pub const fn menu(
    id: u32,
    name: &'static str,
    items: &'static [&'static str],
    mask: u32,
    default: i32,
) -> Info {
    let last = 31 - mask.leading_zeros();
    Info {
        kind: Kind::Menu,
        items,
        mask,
        ..integer(id, name, (0, last as i32), default)
    }
}

/// The mask of a menu that has all items up to and including `last`.
pub const fn up_to(last: u32) -> u32 {
    u32::MAX >> (31 - last)
}
