// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What `--device proxy,…` says.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::allow::Allow;

/// Settings of a proxied device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node.
    pub path: Option<PathBuf>,
    /// Name that guests see instead of the host's.
    pub card: Option<String>,
    /// Ioctls that guests may use.
    pub allow: Allow,
    /// Controls that guests may set, as they were written; all of them, if `None`.
    pub controls: Option<String>,
    /// Sessions that may be open at once: open files of the node, those of VMs before this one that
    /// still close included.
    pub max_sessions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: None,
            card: None,
            allow: Allow::default(),
            controls: None,
            max_sessions: 256,
        }
    }
}

impl Settings {
    /// Takes one setting.
    ///
    /// # Errors
    ///
    /// There is no such setting, or its value makes no sense.
    pub fn set(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        match key {
            "path" => self.path = Some(value.into()),
            "card" => self.card = Some(value.to_owned()),
            "ioctls" => self.allow.set_ioctls(value)?,
            "controls" => self.controls = Some(value.to_owned()),
            "sessions" => {
                let sessions = value.parse().ok().filter(|sessions| *sessions > 0);
                let sessions = sessions.with_context(|| format!("sessions={value}: at least 1"))?;
                self.max_sessions = sessions;
            }
            _ => bail!(
                "--device proxy: there is no setting {key:?}; there are: path, card, ioctls, \
                 controls, sessions, socket, fd"
            ),
        }
        Ok(())
    }
}
