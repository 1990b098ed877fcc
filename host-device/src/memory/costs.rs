// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Which budget and counters a mapping is charged to.

use std::sync::Arc;

use super::budget::Share;
use super::ledger::Ledger;
use crate::counters::Counters;

/// Where what a session maps is charged and counted.
#[derive(Clone, Debug)]
pub(super) struct Costs {
    /// Bytes.
    pub(super) ledger: Arc<Ledger>,
    /// Mappings: the session's part of them.
    pub(super) share: Arc<Share>,
    /// Counts of the VM.
    pub(super) counters: Arc<Counters>,
}

impl Costs {
    /// Those of a session with a part of its own of the ledger's mappings.
    pub(super) fn new(ledger: Arc<Ledger>, counters: Arc<Counters>) -> Self {
        Self {
            share: Share::new(ledger.mappings()),
            ledger,
            counters,
        }
    }
}
