// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the test and the guest's agent tell each other: JSON, one message a line, over a
//! virtio-serial port.

use serde::{Deserialize, Serialize};

/// Name of the port, as `/sys/class/virtio-ports/*/name` has it in the guest.
pub const PORT: &str = "agent";

/// From the test to the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Run `command` by `bash -c`, in a process group of its own, in `/job`.
    Run {
        /// Chosen by the test; its lines and its end come back with it.
        id: u64,
        /// For bash.
        command: String,
    },
    /// Send a signal to every process of the group.
    Signal {
        /// As in `Run`.
        id: u64,
        /// Number of the signal.
        signal: i32,
    },
    /// Answer at once, by `Exit` with status 0: whether the guest runs.
    Ping {
        /// Chosen by the test.
        id: u64,
    },
    /// Stop the agent: the guest keeps its kernel log and powers off.
    End,
}

/// From the agent to the test.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The agent runs; everything it does comes after this.
    Ready,
    /// A line that a command has written to its standard output or error.
    Line {
        /// Of the command.
        id: u64,
        /// Without its end. What is not UTF-8 has been replaced.
        text: String,
    },
    /// A command has ended.
    Exit {
        /// Of the command.
        id: u64,
        /// Its exit status, or 128 and the signal that ended it.
        status: i32,
    },
}
