// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Lies on the wire: nothing between them and the guest repairs anything.

use protocol::wire::command::{CmdHeader, CmdIoctl, CmdMunmap, IOCTL, MMAP, MUNMAP, RespMmap};
use protocol::wire::event::{EventDqbuf, MAX_EVENT_SIZE};
use protocol::wire::ioctl::lookup;
use zerocopy::{FromBytes, IntoBytes};

use super::backend::{Answer, Device};

/// Numbers at the edge of something.
const WILD: [u32; 14] = [
    0,
    1,
    2,
    9,
    33,
    257,
    400,
    1025,
    0xffff,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    u32::MAX,
];

/// Size of a response's header.
const HEADER: usize = 8;

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    fn below(&mut self, end: usize) -> usize {
        self.word() as usize % end.max(1)
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn wild(&mut self) -> u32 {
        if self.once_in(4) {
            self.word()
        } else {
            WILD[self.below(WILD.len())]
        }
    }

    /// Puts wild words into `bytes`.
    fn tamper(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(6) {
            let at = 4 * self.below(bytes.len() / 4);
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&self.wild().to_le_bytes());
            }
        }
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.word() as u8).collect()
    }
}

/// A device that tells the truth until the guest has reset it, and then does not.
pub struct Liar<D> {
    inner: D,
    dice: Option<Dice>,
    lying: bool,
    /// Events of its own making.
    forged: Vec<Vec<u8>>,
    /// The last buffer that really came back.
    last: Vec<u8>,
}

impl<D: Device> Liar<D> {
    /// One that never lies, if there is no seed.
    pub fn new(inner: D, seed: Option<u64>) -> Self {
        Self {
            inner,
            dice: seed.map(|seed| Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)),
            lying: false,
            forged: Vec::new(),
            last: EventDqbuf::default().as_bytes().to_vec(),
        }
    }

    /// A lie in place of `answer` to an ioctl.
    fn about_ioctl(
        dice: &mut Dice,
        command: &[u8],
        capacity: usize,
        mut answer: Vec<u8>,
    ) -> Vec<u8> {
        let failed = answer.get(..4) != Some(&[0; 4]);
        if failed && dice.once_in(2) {
            answer = success(command, capacity);
        }
        match dice.below(12) {
            0 => answer = dice.noise(capacity),
            1 => answer.truncate(dice.below(answer.len() + 1)),
            2 => answer.resize(capacity, 0xa5),
            3 => {
                // It fails, and says much all the same.
                answer.resize(capacity, 0);
                dice.tamper(&mut answer);
                answer[..4].copy_from_slice(&dice.word().to_le_bytes());
            }
            4 => {}
            _ => {
                let len = answer.len();
                dice.tamper(answer.get_mut(HEADER.min(len)..).unwrap_or_default());
            }
        }
        answer
    }

    fn forge(&mut self) {
        let Some(dice) = &mut self.dice else { return };
        let mut event = self.last.clone();
        match dice.below(6) {
            0 => {
                let len = dice.below(MAX_EVENT_SIZE + 1);
                event = dice.noise(len);
            }
            1 => event.truncate(dice.below(event.len() + 1)),
            2 => {
                // A V4L2 event, or an end of the session.
                event[..4].copy_from_slice(&[2, 0, 0, 0]);
                if dice.once_in(20) {
                    event[0] = 0;
                }
                dice.tamper(&mut event[8..]);
            }
            _ => dice.tamper(&mut event[8..]),
        }
        self.forged.push(event);
    }
}

/// What a device would answer that has every ioctl: what it was sent.
fn success(command: &[u8], capacity: usize) -> Vec<u8> {
    let mut answer = vec![0; HEADER];
    if let Ok((ioctl, rest)) = CmdIoctl::read_from_prefix(command)
        && lookup(ioctl.code).is_some_and(|ioctl| ioctl.direction.to_device())
    {
        answer.extend_from_slice(rest);
    }
    answer.resize(capacity.max(HEADER), 0);
    answer
}

impl<D: Device> Device for Liar<D> {
    fn config(&self) -> Vec<u8> {
        self.inner.config()
    }

    fn run(&mut self, command: Vec<u8>, capacity: usize) -> Answer {
        let truth = self.inner.run(command.clone(), capacity);
        let Some(dice) = self.dice.as_mut().filter(|_| self.lying) else {
            return truth;
        };
        let mut bytes = truth.bytes;
        let (header, _) = CmdHeader::read_from_prefix(&command).unwrap_or_default();
        match header.cmd {
            IOCTL => bytes = Self::about_ioctl(dice, &command, capacity, bytes),
            MMAP if dice.once_in(4) => {
                // Nothing may stay mapped that the guest does not know of: QEMU 11.1 would not
                // survive the reset.
                if let Ok(real) = RespMmap::read_from_bytes(&bytes)
                    && real.hdr.status == 0
                {
                    let munmap = CmdMunmap::new(real.driver_addr);
                    self.inner.run(munmap.as_bytes().to_vec(), HEADER);
                }
                dice.tamper(&mut bytes);
            }
            MMAP => {}
            MUNMAP if dice.once_in(8) => dice.tamper(&mut bytes),
            _ if dice.once_in(16) => dice.tamper(&mut bytes),
            _ => {}
        }
        let claims = dice.once_in(50).then(|| dice.wild());
        if dice.once_in(3) {
            self.forge();
        }
        Answer { bytes, claims }
    }

    fn events(&mut self) -> Vec<Vec<u8>> {
        let mut events = self.inner.events();
        if let Some(event) = events.last() {
            self.last.clone_from(event);
        }
        events.append(&mut self.forged);
        events
    }

    fn reset(&mut self) {
        self.inner.reset();
        self.lying = self.dice.is_some();
    }
}
