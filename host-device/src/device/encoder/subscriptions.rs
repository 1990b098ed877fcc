// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! V4L2 events that a session subscribed to.

use std::collections::BTreeMap;

use gstreamer::glib;
use nix::errno::Errno;
use protocol::wire::v4l2::{Event, EventSubscription, Timespec};

use super::controls::{Controls, Info};
use super::uapi::*;
use crate::events::Events;

/// Subscriptions of a session. Bounded: EOS, and one for each control.
#[derive(Debug, Default)]
pub struct Subscriptions {
    eos: bool,
    /// Flags of the subscription, by control.
    controls: BTreeMap<u32, u32>,
    /// Of the next event.
    sequence: u32,
}

impl Subscriptions {
    /// VIDIOC_SUBSCRIBE_EVENT.
    ///
    /// # Errors
    ///
    /// `EINVAL` for events that an encoder does not have, and controls that do not exist.
    pub fn subscribe(
        &mut self,
        subscription: &EventSubscription,
        controls: &Controls,
        events: &Events,
    ) -> Result<(), Errno> {
        match subscription.type_ {
            V4L2_EVENT_EOS => self.eos = true,
            V4L2_EVENT_CTRL => {
                let info = controls.info(subscription.id).ok_or(Errno::EINVAL)?;
                self.controls.insert(info.id, subscription.flags);
                if subscription.flags & V4L2_EVENT_SUB_FL_SEND_INITIAL != 0
                    && let Some(event) = controls.initial_event(info)
                {
                    self.send(event, events);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// VIDIOC_UNSUBSCRIBE_EVENT. Unknown ones are no error, as in the kernel.
    pub fn unsubscribe(&mut self, subscription: &EventSubscription) {
        match subscription.type_ {
            V4L2_EVENT_ALL => {
                self.eos = false;
                self.controls.clear();
            }
            V4L2_EVENT_EOS => self.eos = false,
            V4L2_EVENT_CTRL => {
                self.controls.remove(&subscription.id);
            }
            _ => {}
        }
    }

    /// Everything up to STOP is encoded.
    pub fn eos(&mut self, events: &Events) {
        if self.eos {
            self.send(
                Event {
                    type_: V4L2_EVENT_EOS,
                    ..Default::default()
                },
                events,
            );
        }
    }

    /// The session set a control. It hears of that only if it asked for feedback.
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
        let now = glib::monotonic_time();
        events.event(Event {
            sequence: self.sequence,
            timestamp: Timespec {
                tv_sec: now / 1_000_000,
                tv_nsec: now % 1_000_000 * 1000,
            },
            ..event
        });
        self.sequence = self.sequence.wrapping_add(1);
    }
}
