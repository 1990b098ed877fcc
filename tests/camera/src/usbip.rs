// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The USB/IP protocol between a host controller and a device, as far as a device without
//! isochronous endpoints needs it. All fields are big-endian words of 32 bits.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;
/// The length of each header, in bytes.
pub const HEADER: usize = 48;
/// The most that a host sends to one of our endpoints in one transfer.
const MAX_OUT: usize = 64 << 10;

/// What the host controller sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// A transfer.
    Submit(Transfer),
    /// The end of transfer `target`, if it has not ended yet.
    Unlink {
        /// Of this command.
        number: u32,
        /// Of the transfer.
        target: u32,
    },
}

/// A transfer that the host has submitted.
#[derive(Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What the reply names it by.
    pub number: u32,
    /// The number of the endpoint.
    pub endpoint: u32,
    /// How much the host takes, in bytes.
    pub length: usize,
    /// For endpoint 0.
    pub setup: [u8; 8],
    /// What the host sends.
    pub data: Vec<u8>,
}

/// The host controller's end of the connection.
pub struct Host {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Host {
    /// Speaks over `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// The next command, or `None` when none has come until `end`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the host has detached the device; `InvalidData` for what is no command.
    pub fn next(&mut self, end: Option<Instant>) -> io::Result<Option<Command>> {
        loop {
            if let Some((command, length)) = parse(&self.received)? {
                self.received.drain(..length);
                return Ok(Some(command));
            }
            let wait = end.map(|end| end.saturating_duration_since(Instant::now()));
            if wait == Some(Duration::ZERO) {
                return Ok(None);
            }
            self.stream.set_read_timeout(wait)?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where replies are written.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

/// The first command in `bytes` and its length, or `None` when more bytes are needed.
fn parse(bytes: &[u8]) -> io::Result<Option<(Command, usize)>> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let word = |index: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[4 * index + byte]));
    let invalid = |what: &str| io::Error::new(ErrorKind::InvalidData, format!("USB/IP: {what}"));
    let number = word(1);
    match word(0) {
        CMD_UNLINK => Ok(Some((
            Command::Unlink {
                number,
                target: word(5),
            },
            HEADER,
        ))),
        CMD_SUBMIT => {
            let to_host = word(3) == 1;
            let length = word(6) as usize;
            let sent = if to_host { 0 } else { length };
            if sent > MAX_OUT {
                return Err(invalid("a transfer to the device that is too long"));
            }
            let Some(data) = bytes.get(HEADER..HEADER + sent) else {
                return Ok(None);
            };
            let mut setup = [0; 8];
            setup.copy_from_slice(&header[40..]);
            let transfer = Transfer {
                number,
                endpoint: word(4),
                length,
                setup,
                data: data.to_vec(),
            };
            Ok(Some((Command::Submit(transfer), HEADER + sent)))
        }
        other => Err(invalid(&format!("command {other}"))),
    }
}

/// The header that ends transfer `number`: `status` is 0 or a negative errno, `length` what was
/// transferred, in bytes.
pub fn submitted(number: u32, status: i32, length: usize) -> [u8; HEADER] {
    reply(RET_SUBMIT, number, status, length as u32)
}

/// The header that answers [`Command::Unlink`]: `status` is -ECONNRESET when the transfer was ended
/// by it.
pub fn unlinked(number: u32, status: i32) -> [u8; HEADER] {
    reply(RET_UNLINK, number, status, 0)
}

fn reply(command: u32, number: u32, status: i32, length: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (index, word) in [(0, command), (1, number), (5, status as u32), (6, length)] {
        header[4 * index..4 * index + 4].copy_from_slice(&word.to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[(usize, u32)], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        for (index, word) in words {
            bytes[4 * index..4 * index + 4].copy_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn transfers_come_in_pieces_and_together() {
        let out = command(&[(0, CMD_SUBMIT), (1, 7), (6, 3)], &[1, 2, 3]);
        for length in 0..out.len() {
            assert_eq!(parse(&out[..length]).unwrap(), None, "{length} bytes");
        }
        let two = [
            out.clone(),
            command(&[(0, CMD_UNLINK), (1, 8), (5, 7)], &[]),
        ]
        .concat();
        let (first, length) = parse(&two).unwrap().unwrap();
        assert_eq!(length, out.len());
        let Command::Submit(transfer) = first else {
            panic!("{first:?}")
        };
        assert_eq!(
            (transfer.number, transfer.length, &transfer.data[..]),
            (7, 3, &[1, 2, 3][..])
        );
        let (second, _) = parse(&two[length..]).unwrap().unwrap();
        assert_eq!(
            second,
            Command::Unlink {
                number: 8,
                target: 7
            }
        );
    }

    #[test]
    fn transfers_to_the_host_bring_no_data() {
        let bytes = command(&[(0, CMD_SUBMIT), (1, 1), (3, 1), (4, 1), (6, 16384)], &[]);
        let (command, length) = parse(&bytes).unwrap().unwrap();
        assert_eq!(length, HEADER);
        let Command::Submit(transfer) = command else {
            panic!("{command:?}")
        };
        assert_eq!((transfer.endpoint, transfer.length), (1, 16384));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse(&command(&[(0, 9)], &[])).is_err());
        assert!(parse(&command(&[(0, CMD_SUBMIT), (6, u32::MAX)], &[])).is_err());
    }
}
