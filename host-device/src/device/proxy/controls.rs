// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Extended controls: what is behind the guest's pointers goes through memory of the daemon.

use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{ExtControl, ExtControls};

use super::allow::Allow;
use crate::device::api::{ControlArgs, ControlOp, Result};
use crate::memory::Vm;
use crate::v4l2::node::{Node, Payload, PayloadKind, entry, plain_id};

/// Most bytes of payloads in one call: more than any set of controls that a program sets at a time.
const MAX_PAYLOAD: usize = 16 << 20;

/// G_EXT_CTRLS, S_EXT_CTRLS, TRY_EXT_CTRLS.
///
/// # Errors
///
/// What the host answers. `EINVAL` for an ID with bits that are not an ID's; `EACCES` for a control
/// that may not be set; `ENOMEM` for payloads of more than 16 MiB; `EFAULT` if the guest has no
/// memory where it says.
pub(super) fn ext_ctrls(
    node: &Node,
    vm: &Vm,
    allow: &Allow,
    op: ControlOp,
    args: ControlArgs<'_>,
) -> Result {
    let ControlArgs {
        header,
        controls,
        payloads: entries,
    } = args;
    let code = match op {
        ControlOp::Get => ioctl::G_EXT_CTRLS,
        ControlOp::Set => ioctl::S_EXT_CTRLS,
        ControlOp::Try => ioctl::TRY_EXT_CTRLS,
    };
    let ioctl = entry(code)?;
    let sent = controls.to_vec();
    let (mut payloads, mut capacity) = (Vec::new(), MAX_PAYLOAD);
    for (at, (control, entries)) in sent.iter().zip(&entries).enumerate() {
        let allowed = || match op {
            ControlOp::Set | ControlOp::Try if !allow.may_set(control.id) => Err(Errno::EACCES),
            _ => Ok(()),
        };
        let payload = plain_id(control.id)
            .and_then(|()| allowed())
            .and_then(|()| payload(node, vm, control, entries, &mut capacity));
        match payload {
            Ok(payload) => payloads.push(payload),
            Err(errno) => return Err(refuse(header, op, at, errno)),
        }
    }

    let result = node.ext_ctrls(ioctl, header, controls, &mut payloads);
    for ((control, sent), payload) in controls.iter_mut().zip(&sent).zip(&payloads) {
        let untouched = control.size as usize == payload.data().len();
        match payload.kind() {
            PayloadKind::Value => control.size = sent.size,
            PayloadKind::Bytes { string, .. } => {
                control.value = sent.value;
                // We gave the kernel less than the guest has, and it did not care.
                if untouched && (string || result.is_err()) {
                    control.size = sent.size;
                }
            }
            PayloadKind::Unknown => *control = *sent,
        }
    }
    for (payload, entries) in payloads.iter().zip(&entries) {
        vm.write(entries, payload.data())?;
    }
    result
}

/// What the kernel is to have for `control`: what is at `entries`, if it has a pointer.
fn payload(
    node: &Node,
    vm: &Vm,
    control: &ExtControl,
    entries: &[protocol::wire::sg::SgEntry],
    capacity: &mut usize,
) -> Result<Payload> {
    let mut payload = node.payload(control.id, control.size, capacity)?;
    // Also where it is only to be written: the kernel may leave a part as it is.
    vm.read(entries, payload.data_mut())?;
    Ok(payload)
}

/// Fails the call for control `at`, as V4L2 does: nothing has been set.
fn refuse(header: &mut ExtControls, op: ControlOp, at: usize, errno: Errno) -> Errno {
    header.error_idx = match op {
        ControlOp::Set => header.count,
        ControlOp::Get | ControlOp::Try => u32::try_from(at).unwrap_or(header.count),
    };
    errno
}
