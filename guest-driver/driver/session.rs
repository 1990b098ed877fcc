// SPDX-License-Identifier: GPL-2.0

//! Sessions: one for each open file.

mod deliver;
mod file;
mod gate;
mod kinds;
mod wait;

pub(super) use file::{Session, SessionHandle, SessionNode, Slots};
pub(super) use gate::Passing;
