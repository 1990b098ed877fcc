// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a guest may do to the host's device.
//!
//! `ioctls=` names ioctls, as in `VIDIOC_*` without that prefix, and groups of them; `controls=`
//! names controls that may be set. Without the one or the other there is no such limit.

use std::collections::HashSet;

use anyhow::{Context as _, bail};
use protocol::wire::ioctl::{self, TABLE};

/// A group of ioctls.
struct Group {
    name: &'static str,
    codes: &'static [u32],
}

/// Never passed on, whatever is allowed: memory and registers of the host.
pub(super) const REFUSED: &[u32] = &[
    ioctl::S_FBUF,
    ioctl::OVERLAY,
    ioctl::DBG_S_REGISTER,
    ioctl::DBG_G_REGISTER,
    ioctl::DBG_G_CHIP_INFO,
];

/// Every ioctl that is passed on is in one of these.
const GROUPS: &[Group] = &[
    Group {
        name: "query",
        codes: &[
            ioctl::ENUM_FMT,
            ioctl::G_FMT,
            ioctl::TRY_FMT,
            ioctl::G_FBUF,
            ioctl::G_PARM,
            ioctl::G_STD,
            ioctl::ENUMSTD,
            ioctl::ENUMINPUT,
            ioctl::G_CTRL,
            ioctl::G_TUNER,
            ioctl::G_AUDIO,
            ioctl::QUERYCTRL,
            ioctl::QUERYMENU,
            ioctl::G_INPUT,
            ioctl::G_EDID,
            ioctl::G_OUTPUT,
            ioctl::ENUMOUTPUT,
            ioctl::G_AUDOUT,
            ioctl::G_MODULATOR,
            ioctl::G_FREQUENCY,
            ioctl::CROPCAP,
            ioctl::G_CROP,
            ioctl::QUERYSTD,
            ioctl::ENUMAUDIO,
            ioctl::ENUMAUDOUT,
            ioctl::G_PRIORITY,
            ioctl::G_SLICED_VBI_CAP,
            ioctl::G_EXT_CTRLS,
            ioctl::TRY_EXT_CTRLS,
            ioctl::ENUM_FRAMESIZES,
            ioctl::ENUM_FRAMEINTERVALS,
            ioctl::G_ENC_INDEX,
            ioctl::TRY_ENCODER_CMD,
            ioctl::G_DV_TIMINGS,
            ioctl::SUBSCRIBE_EVENT,
            ioctl::UNSUBSCRIBE_EVENT,
            ioctl::G_SELECTION,
            ioctl::TRY_DECODER_CMD,
            ioctl::ENUM_DV_TIMINGS,
            ioctl::QUERY_DV_TIMINGS,
            ioctl::DV_TIMINGS_CAP,
            ioctl::ENUM_FREQ_BANDS,
            ioctl::QUERY_EXT_CTRL,
        ],
    },
    Group {
        name: "stream",
        codes: &[
            ioctl::REQBUFS,
            ioctl::QUERYBUF,
            ioctl::QBUF,
            ioctl::EXPBUF,
            ioctl::STREAMON,
            ioctl::STREAMOFF,
            ioctl::CREATE_BUFS,
            ioctl::PREPARE_BUF,
            ioctl::REMOVE_BUFS,
            ioctl::ENCODER_CMD,
            ioctl::DECODER_CMD,
        ],
    },
    Group {
        name: "format",
        codes: &[
            ioctl::S_FMT,
            ioctl::S_PARM,
            ioctl::S_SELECTION,
            ioctl::S_CROP,
        ],
    },
    Group {
        name: "controls",
        codes: &[ioctl::S_CTRL, ioctl::S_EXT_CTRLS],
    },
    Group {
        name: "input",
        codes: &[
            ioctl::S_INPUT,
            ioctl::S_OUTPUT,
            ioctl::S_AUDIO,
            ioctl::S_AUDOUT,
        ],
    },
    Group {
        name: "timings",
        codes: &[ioctl::S_STD, ioctl::S_DV_TIMINGS],
    },
    Group {
        name: "tuner",
        codes: &[
            ioctl::S_TUNER,
            ioctl::S_MODULATOR,
            ioctl::S_FREQUENCY,
            ioctl::S_HW_FREQ_SEEK,
        ],
    },
    Group {
        name: "edid",
        codes: &[ioctl::S_EDID],
    },
    Group {
        name: "priority",
        codes: &[ioctl::S_PRIORITY],
    },
];

/// The codes that `name` stands for: a group, `all`, or one ioctl.
fn codes(name: &str) -> anyhow::Result<Vec<u32>> {
    if name == "all" {
        return Ok(GROUPS
            .iter()
            .flat_map(|group| group.codes)
            .copied()
            .collect());
    }
    if let Some(group) = GROUPS.iter().find(|group| group.name == name) {
        return Ok(group.codes.to_vec());
    }
    let ioctl = TABLE
        .iter()
        .find(|ioctl| ioctl.name.strip_prefix("VIDIOC_") == Some(name))
        .with_context(|| {
            let groups: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
            format!(
                "ioctls: there is no {name:?}; give names like S_FMT, or groups: all, {}",
                groups.join(", ")
            )
        })?;
    if !ioctl.forwarded || REFUSED.contains(&ioctl.code) {
        bail!("ioctls: {name} never reaches the host's device; leave it out");
    }
    Ok(vec![ioctl.code])
}

/// What is allowed. By default, everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    ioctls: Option<HashSet<u32>>,
    controls: Option<HashSet<u32>>,
}

impl Allow {
    /// Allows the ioctls of a list like `query+stream+S_FMT`, and no other. `-NAME` takes off what
    /// stands before it: `all+-edid`.
    ///
    /// # Errors
    ///
    /// A name is none: the message says what there is.
    pub fn set_ioctls(&mut self, list: &str) -> anyhow::Result<()> {
        let mut allowed = HashSet::new();
        for name in list.split('+') {
            match name.strip_prefix('-') {
                Some(name) => {
                    for code in codes(name)? {
                        allowed.remove(&code);
                    }
                }
                None => allowed.extend(codes(name)?),
            }
        }
        self.ioctls = Some(allowed);
        Ok(())
    }

    /// Allows these controls to be set, and no other.
    pub(super) fn set_controls(&mut self, ids: HashSet<u32>) {
        self.controls = Some(ids);
    }

    /// Whether the ioctl with this code may be passed on.
    pub fn ioctl(&self, code: u32) -> bool {
        self.ioctls
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&code))
    }

    /// Whether the control `id` may be set. An ID with bits of a query in it is that of no control.
    pub fn may_set(&self, id: u32) -> bool {
        self.controls
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&id))
    }
}

/// A control's name as `v4l2-ctl` prints it: `White Balance, Automatic` is
/// `white_balance_automatic`.
fn variable(name: &str) -> String {
    let words = name.split(|char: char| !char.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("_").to_ascii_lowercase()
}

/// The IDs of the controls in a list like `brightness+0x00980901`, among those that a device has:
/// IDs and names.
///
/// # Errors
///
/// A name is none of them.
pub(super) fn controls(list: &str, of_device: &[(u32, String)]) -> anyhow::Result<HashSet<u32>> {
    let mut ids = HashSet::new();
    for wanted in list.split('+') {
        let number = wanted
            .strip_prefix("0x")
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let mut found = of_device
            .iter()
            .filter(|(id, name)| Some(*id) == number || variable(name) == wanted)
            .map(|(id, _)| *id)
            .peekable();
        if found.peek().is_none() {
            bail!(
                "controls: the device has no {wanted:?}; v4l2-ctl --list-ctrls shows names, or \
                 give an ID like 0x00980900"
            );
        }
        ids.extend(found);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests;
