// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The drain sequence: ENCODER_CMD STOP and START.

use nix::errno::Errno;
use protocol::wire::v4l2::EncoderCmd;

use crate::v4l2::core::uapi::*;

/// Where a session stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Frames are coded as they come.
    Running,
    /// STOP came before both queues stream, with CAPTURE buffers queued and no frame: the stream
    /// that starts without one ends at once. FFmpeg does that when it has nothing to encode, and
    /// waits for the end.
    Early,
    /// STOP came: so many queued frames are still to be coded, then the LAST buffer follows.
    Draining {
        /// OUTPUT buffers that were queued before STOP and are not taken yet.
        left: usize,
    },
    /// The LAST buffer is out: frames wait for START.
    Stopped,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `V4L2_ENC_CMD_START`.
    Start,
    /// `V4L2_ENC_CMD_STOP`.
    Stop,
}

impl Command {
    /// Reads a command; flags and reserved fields come back zero.
    ///
    /// # Errors
    ///
    /// `EINVAL` for any but START and STOP.
    pub fn of(cmd: &mut EncoderCmd) -> Result<Self, Errno> {
        let command = match cmd.cmd {
            V4L2_ENC_CMD_START => Self::Start,
            V4L2_ENC_CMD_STOP => Self::Stop,
            _ => return Err(Errno::EINVAL),
        };
        cmd.flags = 0;
        cmd.raw = [0; 8];
        Ok(command)
    }
}

impl Drain {
    /// Runs a command while `frames` OUTPUT buffers and `capacity` CAPTURE buffers are queued.
    /// `streaming` says that both queues stream.
    ///
    /// # Errors
    ///
    /// `EBUSY` while draining.
    pub fn run(
        &mut self,
        command: Command,
        streaming: bool,
        (frames, capacity): (usize, usize),
    ) -> Result<(), Errno> {
        match (*self, command) {
            (Self::Draining { .. }, _) => return Err(Errno::EBUSY),
            (Self::Running, Command::Stop) if streaming => {
                *self = Self::Draining { left: frames };
            }
            (Self::Running, Command::Stop) if frames == 0 && capacity > 0 => *self = Self::Early,
            (Self::Stopped | Self::Early, Command::Start) => *self = Self::Running,
            (Self::Running | Self::Stopped | Self::Early, _) => {}
        }
        Ok(())
    }

    /// Both queues stream from now on.
    pub fn started(&mut self) {
        if *self == Self::Early {
            *self = Self::Draining { left: 0 };
        }
    }

    /// A frame was queued, or buffers were allocated anew: an early STOP was not for what follows.
    pub fn goes_on(&mut self) {
        if *self == Self::Early {
            *self = Self::Running;
        }
    }

    /// Whether the next queued frame may be coded.
    pub fn may_code(self) -> bool {
        match self {
            Self::Running | Self::Early => true,
            Self::Draining { left } => left > 0,
            Self::Stopped => false,
        }
    }

    /// A queued frame was taken.
    pub fn taken(&mut self) {
        if let Self::Draining { left } = self {
            *left = left.saturating_sub(1);
        }
    }

    /// STREAMOFF of the OUTPUT queue: there is nothing left to code.
    pub fn output_off(&mut self) {
        match self {
            Self::Draining { left } => *left = 0,
            Self::Early => *self = Self::Running,
            Self::Running | Self::Stopped => {}
        }
    }

    /// Whether every frame up to STOP has been taken.
    pub fn all_taken(self) -> bool {
        self == Self::Draining { left: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_follow_the_state() {
        let mut drain = Drain::Running;
        assert_eq!(drain.run(Command::Stop, false, (3, 1)), Ok(()));
        assert_eq!(drain, Drain::Running);
        assert_eq!(drain.run(Command::Start, true, (3, 1)), Ok(()));
        assert_eq!(drain.run(Command::Stop, true, (2, 1)), Ok(()));
        assert_eq!(drain.run(Command::Stop, true, (2, 1)), Err(Errno::EBUSY));
        assert_eq!(drain.run(Command::Start, true, (2, 1)), Err(Errno::EBUSY));
        drain.taken();
        assert!(drain.may_code() && !drain.all_taken());
        drain.taken();
        assert!(!drain.may_code() && drain.all_taken());
        drain = Drain::Stopped;
        assert_eq!(drain.run(Command::Stop, true, (1, 1)), Ok(()));
        assert_eq!(drain, Drain::Stopped);
        assert_eq!(drain.run(Command::Start, true, (1, 1)), Ok(()));
        assert_eq!(drain, Drain::Running);
    }

    #[test]
    fn a_stream_that_was_stopped_before_it_began_ends_at_once() {
        let early = || {
            let mut drain = Drain::Running;
            assert_eq!(drain.run(Command::Stop, false, (0, 4)), Ok(()));
            drain
        };
        let mut drain = early();
        assert_eq!(drain.run(Command::Stop, false, (0, 4)), Ok(()));
        drain.started();
        assert!(drain.all_taken());
        // What else a client does says that it goes on.
        let on: [fn(&mut Drain); 3] = [
            |drain| drain.run(Command::Start, false, (0, 4)).unwrap(),
            Drain::goes_on,
            Drain::output_off,
        ];
        for on in on {
            let mut drain = early();
            on(&mut drain);
            drain.started();
            assert_eq!(drain, Drain::Running);
        }
        // Nothing was prepared: a program that tries the command.
        for (frames, capacity) in [(0, 0), (1, 4)] {
            let mut drain = Drain::Running;
            assert_eq!(drain.run(Command::Stop, false, (frames, capacity)), Ok(()));
            drain.started();
            assert_eq!(drain, Drain::Running);
        }
    }

    #[test]
    fn only_start_and_stop_are_commands() {
        for cmd in [2, 3, 4, u32::MAX] {
            let mut cmd = EncoderCmd {
                cmd,
                ..Default::default()
            };
            assert_eq!(Command::of(&mut cmd), Err(Errno::EINVAL));
        }
        let mut stop = EncoderCmd {
            cmd: V4L2_ENC_CMD_STOP,
            flags: u32::MAX,
            raw: [1; 8],
        };
        assert_eq!(Command::of(&mut stop), Ok(Command::Stop));
        assert_eq!((stop.flags, stop.raw), (0, [0; 8]));
    }
}
