// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! VIDIOC_QUERYCTRL, VIDIOC_QUERY_EXT_CTRL, VIDIOC_QUERYMENU and the content of control events.

use nix::errno::Errno;
use protocol::wire::v4l2::{Event, EventCtrl, QueryCtrl, QueryExtCtrl, QueryMenu};
use zerocopy::IntoBytes as _;

use super::Controls;
use super::info::{Info, Kind};
use crate::v4l2::core::uapi::*;

const NEXT: u32 = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;

impl Controls {
    /// The control that a query with `id` means: that one, or the next after it if `id` has the
    /// flags for that.
    fn queried(&self, id: u32) -> Result<&'static Info, Errno> {
        let plain = id & V4L2_CTRL_ID_MASK;
        let found = match id & NEXT {
            0 => self.info(plain),
            // No control is compound.
            V4L2_CTRL_FLAG_NEXT_COMPOUND => None,
            _ => self
                .all
                .iter()
                .map(|(info, _)| *info)
                .find(|info| info.id > plain),
        };
        found.ok_or(Errno::EINVAL)
    }

    /// VIDIOC_QUERY_EXT_CTRL.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such control, or none after it.
    pub fn query_ext(&self, query: &mut QueryExtCtrl) -> Result<(), Errno> {
        let info = self.queried(query.id)?;
        *query = QueryExtCtrl {
            id: info.id,
            type_: info.kind.number(),
            name: text(info.name),
            minimum: info.min.into(),
            maximum: info.max.into(),
            step: info.step.into(),
            default_value: info.default.into(),
            flags: info.flags,
            elem_size: 4,
            elems: 1,
            ..Default::default()
        };
        Ok(())
    }

    /// VIDIOC_QUERYCTRL.
    ///
    /// # Errors
    ///
    /// As [`query_ext`](Self::query_ext).
    pub fn query(&self, query: &mut QueryCtrl) -> Result<(), Errno> {
        let info = self.queried(query.id)?;
        *query = QueryCtrl {
            id: info.id,
            type_: info.kind.number(),
            name: text(info.name),
            minimum: info.min,
            maximum: info.max,
            step: info.step.cast_signed(),
            default_value: info.default,
            flags: info.flags,
            reserved: [0; 2],
        };
        Ok(())
    }

    /// VIDIOC_QUERYMENU.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such menu, or no such item.
    pub fn query_menu(&self, query: &mut QueryMenu) -> Result<(), Errno> {
        let info = self.info(query.id).ok_or(Errno::EINVAL)?;
        let index = i32::try_from(query.index).map_err(|_| Errno::EINVAL)?;
        let name = info.item(index).ok_or(Errno::EINVAL)?;
        query.name = text(name);
        query.reserved = 0;
        Ok(())
    }

    /// `V4L2_EVENT_CTRL` for a control, with `V4L2_EVENT_CTRL_CH_*` in `changes`.
    pub fn event(&self, info: &Info, changes: u32) -> Event {
        let readable = info.flags & V4L2_CTRL_FLAG_WRITE_ONLY == 0;
        let ctrl = EventCtrl {
            changes,
            type_: info.kind.number(),
            value: if readable {
                self.value(info.id).into()
            } else {
                0
            },
            flags: info.flags,
            minimum: info.min,
            maximum: info.max,
            step: info.step.cast_signed(),
            default_value: info.default,
            pad: 0,
        };
        let mut event = Event {
            type_: V4L2_EVENT_CTRL,
            id: info.id,
            ..Default::default()
        };
        // Cannot fail: 40 bytes into 64.
        let _ = ctrl.write_to_prefix(&mut event.u);
        event
    }

    /// The event that a new subscriber gets, with the control's value; none for classes.
    pub fn initial_event(&self, info: &Info) -> Option<Event> {
        let mut changes = V4L2_EVENT_CTRL_CH_FLAGS;
        if info.flags & V4L2_CTRL_FLAG_WRITE_ONLY == 0 {
            changes |= V4L2_EVENT_CTRL_CH_VALUE;
        }
        (info.kind != Kind::Class).then(|| self.event(info, changes))
    }
}
