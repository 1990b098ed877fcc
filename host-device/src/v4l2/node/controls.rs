// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Calls whose payload points to an array: extended controls, EDID.

use std::os::fd::AsFd;

use nix::errno::Errno;
use protocol::wire::ioctl::{self, Attached, Ioctl};
use protocol::wire::v4l2::{
    CTRL_TYPE_STRING, EDID_BLOCK, Edid, ExtControl, ExtControls, MAX_CONTROLS, QueryCtrl,
    QueryExtCtrl,
};
use v4l2r::bindings::{
    V4L2_CTRL_FLAG_DYNAMIC_ARRAY, V4L2_CTRL_FLAG_HAS_PAYLOAD, V4L2_CTRL_FLAG_NEXT_COMPOUND,
    V4L2_CTRL_FLAG_NEXT_CTRL, V4L2_CTRL_ID_MASK,
};
use zerocopy::IntoBytes;

use super::file::Node;
use super::identity::text;
use super::request::{self, entry};

/// `V4L2_CTRL_WHICH_REQUEST_VAL`: values in a request, which no guest has.
const WHICH_REQUEST_VAL: u32 = v4l2r::bindings::V4L2_CTRL_WHICH_REQUEST_VAL;

/// How the value of a control travels, as the host's kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// In the control itself.
    Value,
    /// Behind a pointer.
    Bytes {
        /// Most bytes that the kernel would look at.
        capacity: usize,
        /// The kernel leaves its size as it is.
        string: bool,
    },
    /// There is no such control.
    Unknown,
}

/// Checks that `id` is that of one control and nothing else. The other bits make a query mean the
/// next control. Some drivers look at them in calls that set or get, too (`uvcvideo`), others do
/// not: an ID with such a bit may mean another control to the driver than to us.
///
/// # Errors
///
/// `EINVAL`: there are bits outside `V4L2_CTRL_ID_MASK`.
pub fn plain_id(id: u32) -> Result<(), Errno> {
    if id & !V4L2_CTRL_ID_MASK == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Memory of this process for the value of one control.
#[derive(Debug)]
pub struct Payload {
    id: u32,
    kind: PayloadKind,
    data: Vec<u8>,
}

impl Payload {
    /// How the value travels.
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// What is behind the pointer: none, for a control that has none.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// As [`data`](Self::data), to be filled.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

/// Bytes of an array control that has so many elements, or could have.
fn capacity(query: &QueryExtCtrl) -> usize {
    let each = query.elem_size as usize;
    let count = if query.flags & V4L2_CTRL_FLAG_DYNAMIC_ARRAY != 0 {
        // One more, so that the kernel sees that it is too many.
        query.dims[0] as usize + 1
    } else {
        query.elems as usize
    };
    each.saturating_mul(count)
}

impl Node {
    /// IDs and names of all controls. At most 4096: a driver that goes round in circles is left.
    ///
    /// # Errors
    ///
    /// What the kernel answers, but for a device that has none.
    pub fn controls(&self) -> Result<Vec<(u32, String)>, Errno> {
        let mut found = Vec::new();
        let mut last = 0;
        while found.len() < 4096 {
            let mut query = QueryExtCtrl {
                id: last | V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND,
                ..QueryExtCtrl::default()
            };
            match self.call(entry(ioctl::QUERY_EXT_CTRL)?, &mut query) {
                Ok(()) => {}
                Err(Errno::EINVAL | Errno::ENOTTY) => break,
                Err(errno) => return Err(errno),
            }
            last = query.id;
            found.push((query.id, text(&query.name)));
        }
        Ok(found)
    }

    /// How the value of control `id` travels. The host's kernel is asked, each time: what a guest
    /// says is not believed.
    ///
    /// # Errors
    ///
    /// What the kernel answers, but for a control that it does not know. As [`plain_id`].
    pub fn control_kind(&self, id: u32) -> Result<PayloadKind, Errno> {
        plain_id(id)?;
        let mut query = QueryExtCtrl {
            id,
            ..QueryExtCtrl::default()
        };
        match self.call(entry(ioctl::QUERY_EXT_CTRL)?, &mut query) {
            Ok(()) if query.id != id => Ok(PayloadKind::Unknown),
            Ok(()) if query.flags & V4L2_CTRL_FLAG_HAS_PAYLOAD != 0 => Ok(PayloadKind::Bytes {
                capacity: capacity(&query),
                string: query.type_ == CTRL_TYPE_STRING,
            }),
            Ok(()) => Ok(PayloadKind::Value),
            Err(Errno::ENOTTY) => self.old_control_kind(id),
            Err(Errno::EINVAL) => Ok(PayloadKind::Unknown),
            Err(errno) => Err(errno),
        }
    }

    /// As [`control_kind`](Self::control_kind), of a driver that knows QUERYCTRL only.
    fn old_control_kind(&self, id: u32) -> Result<PayloadKind, Errno> {
        let mut query = QueryCtrl {
            id,
            ..QueryCtrl::default()
        };
        match self.call(entry(ioctl::QUERYCTRL)?, &mut query) {
            Ok(()) if query.id != id => Ok(PayloadKind::Unknown),
            Ok(()) if query.type_ == CTRL_TYPE_STRING => Ok(PayloadKind::Bytes {
                capacity: usize::try_from(query.maximum).unwrap_or_default() + 1,
                string: true,
            }),
            Ok(()) => Ok(PayloadKind::Value),
            Err(Errno::EINVAL | Errno::ENOTTY) => Ok(PayloadKind::Unknown),
            Err(errno) => Err(errno),
        }
    }

    /// Memory for `size` bytes of control `id`, or for as many as it can have; none if its value
    /// needs none.
    ///
    /// # Errors
    ///
    /// As [`control_kind`](Self::control_kind); `ENOMEM` if it is more than is left of `capacity`,
    /// which it is taken from.
    pub fn payload(&self, id: u32, size: u32, capacity: &mut usize) -> Result<Payload, Errno> {
        let kind = self.control_kind(id)?;
        let len = match kind {
            PayloadKind::Bytes { capacity, .. } => capacity.min(size as usize),
            PayloadKind::Value | PayloadKind::Unknown => 0,
        };
        *capacity = capacity.checked_sub(len).ok_or(Errno::ENOMEM)?;
        Ok(Payload {
            id,
            kind,
            data: vec![0; len],
        })
    }

    /// G_EXT_CTRLS, S_EXT_CTRLS or TRY_EXT_CTRLS of `controls`, each with the payload that was made
    /// for it. Where that has a pointer, `size` is what the kernel made of it, and `value` zero.
    /// `header` has `which`, and `error_idx` afterwards.
    ///
    /// # Errors
    ///
    /// What the kernel answers. `EINVAL`, without asking it, if payloads and controls do not agree,
    /// or the values are to be a request's.
    pub fn ext_ctrls(
        &self,
        ioctl: &'static Ioctl,
        header: &mut ExtControls,
        controls: &mut [ExtControl],
        payloads: &mut [Payload],
    ) -> Result<(), Errno> {
        if ioctl.attached != Attached::Controls
            || header.which == WHICH_REQUEST_VAL
            || controls.len() > MAX_CONTROLS
            || payloads.len() != controls.len()
        {
            return Err(Errno::EINVAL);
        }
        for (control, payload) in controls.iter_mut().zip(payloads.iter_mut()) {
            if control.id != payload.id {
                return Err(Errno::EINVAL);
            }
            control.reserved2 = 0;
            control.size = u32::try_from(payload.data.len()).map_err(|_| Errno::EINVAL)?;
            if payload.kind != PayloadKind::Value {
                let address = if payload.data.is_empty() {
                    0
                } else {
                    payload.data.as_mut_ptr().expose_provenance() as u64
                };
                control.set_value64(address.cast_signed());
            }
        }
        header.count = u32::try_from(controls.len()).map_err(|_| Errno::EINVAL)?;
        header.request_fd = 0;
        header.reserved = 0;
        header.controls = if controls.is_empty() {
            0
        } else {
            controls.as_mut_ptr().expose_provenance() as u64
        };
        let _calling = self.calling(ioctl);
        // SAFETY: An `ExtControls` has the size of all three ioctls. `controls` points to as many
        // as `count` says. The kernel follows the pointer of a control that has a payload, of which
        // it says so itself: there it finds `size` bytes of ours, or no pointer. `which` names no
        // request.
        let result =
            unsafe { request::call(self.as_fd(), ioctl, header.as_mut_bytes().as_mut_ptr()) };
        header.controls = 0;
        for (control, payload) in controls.iter_mut().zip(payloads.iter()) {
            if payload.kind != PayloadKind::Value {
                control.value = [0; 2];
            }
        }
        result
    }

    /// G_EDID or S_EDID: `blocks` has as many blocks of 128 bytes as `edid` says, or more.
    ///
    /// # Errors
    ///
    /// What the kernel answers. `EINVAL`, without asking it, if `blocks` has less.
    pub fn edid(
        &self,
        ioctl: &'static Ioctl,
        edid: &mut Edid,
        blocks: &mut [u8],
    ) -> Result<(), Errno> {
        let needed = (edid.blocks as usize).checked_mul(EDID_BLOCK);
        if ioctl.attached != Attached::Edid || needed.is_none_or(|needed| needed > blocks.len()) {
            return Err(Errno::EINVAL);
        }
        edid.edid = blocks.as_mut_ptr().expose_provenance() as u64;
        let _calling = self.calling(ioctl);
        // SAFETY: An `Edid` has the size of both ioctls, and points to at least as many blocks as
        // it says.
        let result =
            unsafe { request::call(self.as_fd(), ioctl, edid.as_mut_bytes().as_mut_ptr()) };
        edid.edid = 0;
        result
    }
}
