// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! V4L2 events that a session has subscribed to.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use protocol::wire::v4l2::{Event, EventSubscription, Timespec};

use super::controls::{Controls, Info};
use super::uapi::*;
use crate::events::Events;

/// Subscriptions of a session. Bounded: one for each type that the device has, and one for each
/// control.
#[derive(Debug)]
pub struct Subscriptions {
    /// Types that the device has, `V4L2_EVENT_*`, and whether the session has subscribed to them.
    types: BTreeMap<u32, bool>,
    /// Flags of the subscription, by control.
    controls: BTreeMap<u32, u32>,
    /// Sequence number of the next event.
    sequence: u32,
}

impl Subscriptions {
    /// None yet, for a device that has control events and events of these `types`,
    /// `V4L2_EVENT_*`.
    pub fn new(types: &[u32]) -> Self {
        Self {
            types: types.iter().map(|type_| (*type_, false)).collect(),
            controls: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// VIDIOC_SUBSCRIBE_EVENT.
    ///
    /// # Errors
    ///
    /// `EINVAL` for events that the device does not have, and controls that do not exist.
    pub fn subscribe(
        &mut self,
        subscription: &EventSubscription,
        controls: &Controls,
        events: &Events,
    ) -> Result<(), Errno> {
        match subscription.type_ {
            V4L2_EVENT_CTRL => {
                let info = controls.info(subscription.id).ok_or(Errno::EINVAL)?;
                self.controls.insert(info.id, subscription.flags);
                if subscription.flags & V4L2_EVENT_SUB_FL_SEND_INITIAL != 0
                    && let Some(event) = controls.initial_event(info)
                {
                    self.send(event, events);
                }
            }
            type_ => *self.types.get_mut(&type_).ok_or(Errno::EINVAL)? = true,
        }
        Ok(())
    }

    /// VIDIOC_UNSUBSCRIBE_EVENT. Unknown ones are no error, as in the kernel.
    pub fn unsubscribe(&mut self, subscription: &EventSubscription) {
        match subscription.type_ {
            V4L2_EVENT_ALL => {
                self.types.values_mut().for_each(|wanted| *wanted = false);
                self.controls.clear();
            }
            V4L2_EVENT_CTRL => {
                self.controls.remove(&subscription.id);
            }
            type_ => {
                self.types.entry(type_).and_modify(|wanted| *wanted = false);
            }
        }
    }

    /// Sends an event of type `type_`, which carries nothing else, if the session wants it.
    pub fn notify(&mut self, type_: u32, events: &Events) {
        if self.types.get(&type_) == Some(&true) {
            let event = Event {
                type_,
                ..Default::default()
            };
            self.send(event, events);
        }
    }

    /// The session has set a control. It gets the event only if it asked for feedback.
    pub fn control_set(&mut self, info: &Info, controls: &Controls, events: &Events) {
        let feedback = self
            .controls
            .get(&info.id)
            .is_some_and(|flags| flags & V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK != 0);
        if feedback {
            self.send(controls.event(info, V4L2_EVENT_CTRL_CH_VALUE), events);
        }
    }

    fn send(&mut self, event: Event, events: &Events) {
        events.event(Event {
            sequence: self.sequence,
            timestamp: now(),
            ..event
        });
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// The time that the kernel stamps events with.
fn now() -> Timespec {
    // Cannot fail: every Linux has that clock.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or_else(
        |_| Timespec::default(),
        |now| Timespec {
            tv_sec: now.tv_sec(),
            tv_nsec: now.tv_nsec(),
        },
    )
}
