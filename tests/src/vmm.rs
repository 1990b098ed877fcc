// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! How VMMs speak vhost-user: what they ask for, in which order, and what a reset and a pause are.
//!
//! As seen of QEMU 11.1, crosvm f1e797a, cloud-hypervisor 54.0, libkrun 6ed74fa and alioth 0.12.

use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;

use crate::memory::Backing;

/// A VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are their names")]
pub enum Vmm {
    Qemu,
    Crosvm,
    CloudHypervisor,
    Libkrun,
    Alioth,
}

/// A message about one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Num,
    Base,
    Addr,
    Call,
    Kick,
    Enable,
}

/// A message about the device, before those about its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Owner,
    Features,
    Memory,
}

impl Vmm {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Qemu,
        Self::Crosvm,
        Self::CloudHypervisor,
        Self::Libkrun,
        Self::Alioth,
    ];

    /// Features of the protocol that it takes where they are offered.
    pub(crate) fn protocol_features(self) -> Protocol {
        let common = Protocol::MQ | Protocol::CONFIG;
        match self {
            Self::Qemu => {
                common
                    | Protocol::REPLY_ACK
                    | Protocol::RESET_DEVICE
                    | Protocol::CONFIGURE_MEM_SLOTS
                    | Protocol::BACKEND_REQ
                    | Protocol::BACKEND_SEND_FD
                    | Protocol::SHMEM
                    | Protocol::SHARED_OBJECT
            }
            Self::Crosvm => common | Protocol::REPLY_ACK | Protocol::BACKEND_REQ | Protocol::SHMEM,
            Self::CloudHypervisor => common | Protocol::REPLY_ACK | Protocol::BACKEND_REQ,
            Self::Libkrun => common,
            Self::Alioth => common | Protocol::REPLY_ACK | Protocol::CONFIGURE_MEM_SLOTS,
        }
    }

    /// Whether it asks of each request whether it was met.
    pub(crate) fn asks_for_replies(self) -> bool {
        !matches!(self, Self::Crosvm | Self::Libkrun)
    }

    /// Whether SET_OWNER is the first word.
    pub(crate) fn owns_at_once(self) -> bool {
        self != Self::Libkrun
    }

    /// What it says each time the guest's driver starts the device.
    pub(crate) fn before(self) -> &'static [Before] {
        match self {
            Self::Libkrun => &[Before::Owner, Before::Memory, Before::Features],
            Self::Alioth => &[Before::Features],
            _ => &[Before::Features, Before::Memory],
        }
    }

    /// What it then says of the queues: each list of messages for one queue after the other.
    pub(crate) fn order(self) -> &'static [&'static [Message]] {
        use Message::{Addr, Base, Call, Enable, Kick, Num};
        match self {
            Self::Qemu => &[&[Num, Base, Addr, Kick, Call], &[Enable]],
            Self::Crosvm => &[&[Num, Addr, Base, Call, Kick, Enable]],
            Self::CloudHypervisor => &[&[Num], &[Addr, Base, Call, Kick], &[Enable]],
            Self::Libkrun => &[&[Num, Base, Addr, Kick, Call, Enable]],
            Self::Alioth => &[&[Kick], &[Call, Num, Base, Addr, Enable]],
        }
    }

    /// Whether it disables queues to stop them.
    pub(crate) fn disables(self) -> bool {
        self != Self::Qemu
    }

    /// Whether it asks where they were when it stops them (GET_VRING_BASE).
    pub(crate) fn gets_bases(self) -> bool {
        matches!(self, Self::Qemu | Self::Crosvm)
    }

    /// Whether both queues have one eventfd by which the device signals.
    pub(crate) fn one_call(self) -> bool {
        self == Self::Libkrun
    }

    /// Whether mappings in the shared memory region stay when the device is reset, and may be made
    /// again over the old.
    pub(crate) fn keeps_mappings(self) -> bool {
        self == Self::Crosvm
    }

    /// What the files of the guest's memory are.
    pub(crate) fn backing(self) -> Backing {
        match self {
            Self::Qemu | Self::Crosvm => Backing::Sealed,
            Self::CloudHypervisor | Self::Libkrun => Backing::Unsealable,
            Self::Alioth => Backing::Unsealed,
        }
    }

    /// Whether the guest's memory is in one file.
    pub(crate) fn one_file(self) -> bool {
        self == Self::Crosvm
    }

    /// Entries of a queue, if it is not told otherwise.
    pub(crate) fn queue_size(self) -> u16 {
        match self {
            Self::Crosvm => 32768,
            _ => 256,
        }
    }
}
