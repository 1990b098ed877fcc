// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The camera on its connection: transfers in, answers and frames out. One thread, which sleeps
//! when nothing is due.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::control::{Control, Effect};
use crate::descriptors::ENDPOINT;
use crate::frames::Frames;
use crate::stream::Stream;
use crate::usbip::{Command, HEADER, Host, Transfer, submitted, unlinked};

const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

struct Camera {
    host: Host,
    frames: Frames,
    control: Control,
    stream: Option<Stream>,
    /// Transfers of the bulk endpoint that wait for data: number, and length in bytes.
    waiting: VecDeque<(u32, usize)>,
    reply: Vec<u8>,
}

/// Is the camera until the host detaches it.
///
/// # Errors
///
/// When the connection breaks or the host breaks the protocol.
pub fn serve(stream: UnixStream, frames: Frames) -> io::Result<()> {
    let mut camera = Camera {
        host: Host::new(stream),
        frames,
        control: Control::default(),
        stream: None,
        waiting: VecDeque::new(),
        reply: Vec::new(),
    };
    match camera.run() {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

impl Camera {
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.send_due()?;
            let due = if self.waiting.is_empty() {
                None
            } else {
                self.stream.as_ref().and_then(Stream::due)
            };
            match self.host.next(due)? {
                Some(Command::Submit(transfer)) if transfer.endpoint == 0 => {
                    self.answer(&transfer)?
                }
                Some(Command::Submit(transfer))
                    if transfer.endpoint == u32::from(ENDPOINT & 0x0f) =>
                {
                    self.waiting.push_back((transfer.number, transfer.length));
                }
                Some(Command::Submit(transfer)) => self.end(transfer.number, -EPIPE)?,
                Some(Command::Unlink { number, target }) => {
                    let before = self.waiting.len();
                    self.waiting.retain(|(waiting, _)| *waiting != target);
                    // One that is gone has been answered.
                    let status = if self.waiting.len() < before {
                        -ECONNRESET
                    } else {
                        0
                    };
                    self.host.stream().write_all(&unlinked(number, status))?;
                }
                None => {}
            }
        }
    }

    /// Fills waiting transfers with what is due.
    fn send_due(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while let Some(&(number, length)) = self.waiting.front() {
            self.reply.clear();
            self.reply.resize(HEADER, 0);
            if !stream.payload(&self.frames, length, Instant::now(), &mut self.reply) {
                break;
            }
            let sent = self.reply.len() - HEADER;
            self.reply[..HEADER].copy_from_slice(&submitted(number, 0, sent));
            self.host.stream().write_all(&self.reply)?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn answer(&mut self, transfer: &Transfer) -> io::Result<()> {
        match self.control.request(transfer.setup, &transfer.data) {
            Ok((bytes, effect)) => {
                match effect {
                    Effect::None => {}
                    Effect::Start(parameters) => self.stream = Some(Stream::new(parameters)),
                    Effect::Stop => self.stream = None,
                }
                let length = if transfer.data.is_empty() {
                    bytes.len()
                } else {
                    transfer.data.len()
                };
                let mut reply = submitted(transfer.number, 0, length).to_vec();
                reply.extend_from_slice(&bytes);
                self.host.stream().write_all(&reply)
            }
            Err(_) => self.end(transfer.number, -EPIPE),
        }
    }

    /// Ends a transfer without data.
    fn end(&mut self, number: u32, status: i32) -> io::Result<()> {
        self.host.stream().write_all(&submitted(number, status, 0))
    }
}
