// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The daemon's path without a guest: a driver in this process sends frames over vhost-user to a
//! daemon in another, and takes back what is encoded. Nobody waits for answers to QBUF. Prints one
//! line of JSON.
//!
//! `socket=` and `pid=` of the daemon; `source=`, `size=`, `depth=`, `warmup=`, `frames=` and
//! `label=` as of the guest's client, and `coded=`.

use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, ensure};
use bench::{Arguments, FRAMES, Window};
use e2e::counters::threads::{ENCODER, cpu_time, pin_encoders};
use frontend::client::{Pending, WireEvent, ioctl_parts};
use frontend::stream::{Queue, Settings};
use frontend::{Client, Options, PATIENCE, Stream};
use protocol::wire::ioctl;
use protocol::wire::v4l2::{CID_MPEG_VIDEO_BITRATE, Plane, StreamParm, Timeval};
use zerocopy::IntoBytes;

/// Answers to QBUF that may be outstanding: far fewer than the queue has room for.
const UNREAD: usize = 32;

fn main() -> Result<()> {
    let arguments = Arguments::new()?;
    let (width, height) = arguments.size()?;
    let (warmup, count) = (arguments.number("warmup")?, arguments.number("frames")?);
    ensure!(
        warmup > FRAMES && count > FRAMES,
        "warmup= and frames= have to be more than {FRAMES}"
    );
    let socket = UnixStream::connect(arguments.text("socket")?).context("the daemon's socket")?;
    let client = Client::new(socket, &Options::default())?;
    let coded = arguments.all().get("coded").map_or("H264", String::as_str);
    let coded = coded.as_bytes().try_into().context("coded=H264 or FWHT")?;
    let mut run = Run::new(client, coded, (width, height), &arguments.frames()?)?;
    let (pid, depth) = (arguments.text("pid")?.parse()?, arguments.number("depth")?);
    pin_encoders(pid)?;
    run.stream(warmup, depth)?;
    let before = (cpu_time(pid, ""), cpu_time(pid, ENCODER));
    let window = run.stream(count, depth)?;
    let after = (cpu_time(pid, ""), cpu_time(pid, ENCODER));
    let mut report = window.report(arguments.text("label")?, after.0 - before.0);
    report["encoder_ns"] = (after.1 - before.1).into();
    println!("{report}");
    run.stream.end(&mut run.client);
    Ok(())
}

struct Run {
    client: Client,
    stream: Stream,
    sent: usize,
    unread: Vec<Pending>,
}

impl Run {
    fn new(
        mut client: Client,
        coded: [u8; 4],
        (width, height): (u32, u32),
        frames: &[Vec<u8>],
    ) -> Result<Self> {
        let session = client.open()?;
        let settings = Settings {
            coded,
            output_buffers: FRAMES as u32,
            ..Settings::h264(width, height)
        };
        let mut stream = Stream::prepare(&mut client, session, &settings)?;
        if coded == *b"H264" {
            Self::set_rates(&mut client, &stream, (width, height))?;
        }
        for (buffer, frame) in stream.output.buffers.iter().zip(frames) {
            client.link.shared.write(buffer[0].addr, frame)?;
        }
        stream.streamon(&mut client)?;
        Ok(Self {
            client,
            stream,
            sent: 0,
            unread: Vec::new(),
        })
    }

    /// The rates of bits and of frames, which vicodec does not know.
    fn set_rates(client: &mut Client, stream: &Stream, (width, height): (u32, u32)) -> Result<()> {
        stream.set_control(
            client,
            CID_MPEG_VIDEO_BITRATE,
            (width * height * 5).cast_signed(),
        )?;
        let mut parm = StreamParm {
            type_: stream.output.type_,
            ..StreamParm::default()
        };
        (parm.timeperframe.numerator, parm.timeperframe.denominator) = (1, 25);
        client.ioctl(stream.session, ioctl::S_PARM, &mut parm)?;
        Ok(())
    }

    /// Encodes `count` frames with `depth` of them at the device.
    fn stream(&mut self, count: usize, depth: usize) -> Result<Window> {
        let mut window = Window::new(count);
        let end = self.sent + count;
        let mut back = self.sent;
        let since = self.client.link.commands.avail_index();
        while self.sent < end && self.sent - back < depth {
            self.send_frame();
        }
        self.client.link.commands.notify(since);
        while !(window.complete() && back == end) {
            let since = self.client.link.commands.avail_index();
            let mut next = self.client.wait_event(PATIENCE);
            ensure!(next.is_some(), "nothing comes back");
            while let Some(event) = next {
                if let WireEvent::Dqbuf(event) = event {
                    if event.buffer.type_ == self.stream.output.type_ {
                        back += 1;
                        if self.sent < end {
                            self.send_frame();
                        }
                    } else {
                        let plane = event.planes[0];
                        window.coded((plane.bytesused - plane.data_offset) as usize);
                        self.send(false, event.buffer.index, 0);
                    }
                }
                next = self.client.poll_event();
            }
            self.client.link.commands.notify(since);
            if self.unread.len() >= UNREAD {
                self.read_answers()?;
            }
        }
        self.read_answers()?;
        Ok(window)
    }

    fn send_frame(&mut self) {
        self.send(true, (self.sent % FRAMES) as u32, self.sent as i64);
        self.sent += 1;
    }

    /// QBUF, without a kick.
    fn send(&mut self, raw: bool, index: u32, stamp: i64) {
        let queue: &Queue = if raw {
            &self.stream.output
        } else {
            &self.stream.capture
        };
        let length = queue.buffers[index as usize][0].len as u32;
        let plane = Plane {
            bytesused: if raw {
                queue.format.plane_fmt[0].sizeimage
            } else {
                0
            },
            length,
            ..Plane::default()
        };
        let mut buffer = queue.buffer(index);
        buffer.timestamp = Timeval {
            tv_sec: stamp,
            ..Timeval::default()
        };
        let (readable, writable) = ioctl_parts(
            self.stream.session,
            ioctl::QBUF,
            buffer.as_bytes(),
            plane.as_bytes(),
            &[],
        );
        self.unread
            .push(self.client.submit_quietly(&readable, writable));
    }

    fn read_answers(&mut self) -> Result<()> {
        for pending in self.unread.drain(..) {
            let status = self.client.wait(pending).status();
            ensure!(status == Some(0), "QBUF fails with {status:?}");
        }
        Ok(())
    }
}
