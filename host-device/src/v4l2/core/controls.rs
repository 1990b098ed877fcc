// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Controls: what they are, their values, and the ioctls on them, answered as the kernel's control
//! framework does.

use nix::errno::Errno;
use protocol::wire::v4l2::{Control, ExtControl, ExtControls};

use crate::device::api::ControlOp;
use crate::v4l2::core::uapi::*;

mod info;
mod query;
pub use info::{Info, Kind, boolean, class, integer, menu, up_to};

/// The class that a control belongs to: `V4L2_CTRL_ID2WHICH`.
pub const fn class_of(id: u32) -> u32 {
    id & 0x0fff_0000
}

/// Controls of a session, with their values.
#[derive(Clone, Debug)]
pub struct Controls {
    /// Sorted by ID.
    all: Vec<(&'static Info, i32)>,
}

impl Controls {
    /// Controls with their default values. No two of them may have the same ID.
    pub fn new(infos: impl Iterator<Item = &'static Info>) -> Self {
        let mut all: Vec<_> = infos.map(|info| (info, info.default)).collect();
        all.sort_by_key(|(info, _)| info.id);
        Self { all }
    }

    fn entry(&self, id: u32) -> Option<&(&'static Info, i32)> {
        let at = self
            .all
            .binary_search_by_key(&id, |(info, _)| info.id)
            .ok()?;
        self.all.get(at)
    }

    /// The control with this ID.
    pub fn info(&self, id: u32) -> Option<&'static Info> {
        self.entry(id).map(|(info, _)| *info)
    }

    /// Value of a control; 0 if there is none with this ID.
    pub fn value(&self, id: u32) -> i32 {
        self.entry(id).map_or(0, |(_, value)| *value)
    }

    fn store(&mut self, id: u32, value: i32) {
        if let Some((_, stored)) = self.all.iter_mut().find(|(info, _)| info.id == id) {
            *stored = value;
        }
    }

    /// VIDIOC_G_CTRL.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such control. `EACCES`: it cannot be read.
    pub fn get(&self, control: &mut Control) -> Result<(), Errno> {
        let (info, value) = self.entry(control.id).ok_or(Errno::EINVAL)?;
        if info.flags & V4L2_CTRL_FLAG_WRITE_ONLY != 0 {
            return Err(Errno::EACCES);
        }
        control.value = *value;
        Ok(())
    }

    /// VIDIOC_S_CTRL. Stores the value and returns the control.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such control, or a menu item that is left out. `ERANGE`: a number outside of
    /// the menu. `EACCES`: it cannot be written.
    pub fn set(&mut self, control: &mut Control) -> Result<&'static Info, Errno> {
        let info = self.info(control.id).ok_or(Errno::EINVAL)?;
        if info.flags & V4L2_CTRL_FLAG_READ_ONLY != 0 {
            return Err(Errno::EACCES);
        }
        control.value = info.validate(control.value)?;
        self.store(info.id, control.value);
        Ok(info)
    }

    /// VIDIOC_G_EXT_CTRLS, S_EXT_CTRLS or TRY_EXT_CTRLS. Returns the controls that were set.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get) and [`set`](Self::set). `header.error_idx` is the control that failed,
    /// or `count` if nothing was touched.
    pub fn ext(
        &mut self,
        op: ControlOp,
        header: &mut ExtControls,
        controls: &mut [ExtControl],
    ) -> Result<Vec<&'static Info>, Errno> {
        header.error_idx = header.count;
        header.reserved = 0;
        for control in controls.iter_mut() {
            control.reserved2 = 0;
        }
        let which = header.which;
        let special = (V4L2_CTRL_WHICH_DEF_VAL..=CTRL_WHICH_MAX_VAL).contains(&which);
        // There are no requests, whose values are special too, and only compound controls have
        // bounds that are asked for so.
        if special && (op != ControlOp::Get || which != V4L2_CTRL_WHICH_DEF_VAL) {
            return Err(Errno::EINVAL);
        }
        header.which = class_of(which);
        if controls.is_empty() {
            return if header.which == 0 || special || self.has_class(header.which) {
                Ok(Vec::new())
            } else {
                Err(Errno::EINVAL)
            };
        }

        let found = match self.find_all(controls, which, special) {
            Ok(found) => found,
            Err((index, errno)) => {
                // GET and SET have touched nothing, so they name no control.
                if op == ControlOp::Try {
                    header.error_idx = index;
                }
                return Err(errno);
            }
        };
        if op == ControlOp::Get {
            return self.get_ext(special, &found, controls).map(|()| Vec::new());
        }
        if let Err((index, errno)) = validate_all(&found, controls) {
            if op == ControlOp::Try {
                header.error_idx = index;
            }
            return Err(errno);
        }
        if op == ControlOp::Try {
            return Ok(Vec::new());
        }
        for (info, control) in found.iter().zip(controls.iter()) {
            self.store(info.id, control.value());
        }
        Ok(found)
    }

    /// The controls that `controls` name, or which of them is wrong, and why.
    fn find_all(
        &self,
        controls: &[ExtControl],
        which: u32,
        special: bool,
    ) -> Result<Vec<&'static Info>, (u32, Errno)> {
        let found = (0..).zip(controls).map(|(index, control)| {
            let found = self.find(control, which, special);
            found.map_err(|errno| (index, errno))
        });
        found.collect()
    }

    fn find(
        &self,
        control: &ExtControl,
        which: u32,
        special: bool,
    ) -> Result<&'static Info, Errno> {
        if which != 0 && !special && class_of(control.id) != which {
            return Err(Errno::EINVAL);
        }
        self.info(control.id).ok_or(Errno::EINVAL)
    }

    fn get_ext(
        &self,
        default: bool,
        found: &[&'static Info],
        controls: &mut [ExtControl],
    ) -> Result<(), Errno> {
        if found
            .iter()
            .any(|info| info.flags & V4L2_CTRL_FLAG_WRITE_ONLY != 0)
        {
            return Err(Errno::EACCES);
        }
        for (info, control) in found.iter().zip(controls) {
            control.set_value(if default {
                info.default
            } else {
                self.value(info.id)
            });
            control.size = 0;
        }
        Ok(())
    }

    fn has_class(&self, class: u32) -> bool {
        self.all.iter().any(|(info, _)| class_of(info.id) == class)
    }
}

/// Makes the values of `controls` those that setting them stores, or says which cannot be set, and
/// why.
fn validate_all(infos: &[&Info], controls: &mut [ExtControl]) -> Result<(), (u32, Errno)> {
    for ((index, info), control) in (0..).zip(infos).zip(controls) {
        let value = if info.flags & V4L2_CTRL_FLAG_READ_ONLY != 0 {
            Err(Errno::EACCES)
        } else {
            info.validate(control.value())
        };
        control.set_value(value.map_err(|errno| (index, errno))?);
        control.size = 0;
    }
    Ok(())
}
