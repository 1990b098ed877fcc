// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The guest's driver, in the test process.
//!
//! Commands that the device refuses are `Err` with its errno. A device that does not answer at all,
//! or answers with what is no answer, is a failed test: the methods panic, saying so.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use protocol::wire::command::{
    CmdClose, CmdIoctl, CmdMmap, CmdMunmap, CmdOpen, MMAP_FLAG_RW, RespHeader, RespMmap, RespOpen,
};
use protocol::wire::event::{
    self, EventDqbuf, EventError, EventEvent, EventHeader, MAX_EVENT_SIZE,
};
use protocol::wire::ioctl::{self, Attached, Ioctl};
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{
    Buffer, ExportBuffer, ExtControl, ExtControls, MEMORY_DMABUF, Plane, RequestBuffers,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::PATIENCE;
use crate::link::{Link, Options};
use crate::memory::Block;
use crate::ring::{Segment, Used};

/// How a command is laid out in descriptors. Their boundaries carry no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One descriptor for what the device reads, one for what it writes.
    Two,
    /// Descriptors of at most so many bytes.
    Split(u32),
    /// As `Two`, in a table of its own.
    Indirect,
    /// As `Split`, in a table of its own.
    IndirectSplit(u32),
}

/// What the device made of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Bytes that it says it wrote.
    pub len: u32,
    /// What stands in the writable part now, all of it: what was not written is [`UNWRITTEN`].
    pub bytes: Vec<u8>,
}

/// What the writable part of a command holds before the device has it.
pub const UNWRITTEN: u8 = 0xa5;

impl Reply {
    /// The header's status, if a header was written.
    pub fn status(&self) -> Option<u32> {
        let (header, _) = RespHeader::read_from_prefix(self.written()).ok()?;
        Some(header.status)
    }

    /// What the device wrote.
    pub fn written(&self) -> &[u8] {
        self.bytes.get(..self.len as usize).unwrap_or(&self.bytes)
    }
}

/// An event, as the driver gets it.
#[derive(Clone, Debug)]
pub enum WireEvent {
    /// VIRTIO_MEDIA_EVT_ERROR.
    Error(EventError),
    /// VIRTIO_MEDIA_EVT_DQBUF.
    Dqbuf(Box<EventDqbuf>),
    /// VIRTIO_MEDIA_EVT_EVENT.
    Event(Box<EventEvent>),
}

impl WireEvent {
    fn parse(bytes: &[u8]) -> Self {
        let (header, _) = EventHeader::read_from_prefix(bytes).expect("an event without header");
        let problem = "an event of the wrong length";
        match header.event {
            event::ERROR => Self::Error(EventError::read_from_bytes(bytes).expect(problem)),
            event::DQBUF => {
                Self::Dqbuf(Box::new(EventDqbuf::read_from_bytes(bytes).expect(problem)))
            }
            event::EVENT => {
                Self::Event(Box::new(EventEvent::read_from_bytes(bytes).expect(problem)))
            }
            other => panic!("no such event: {other}"),
        }
    }

    /// The session that it is for.
    pub fn session(&self) -> u32 {
        match self {
            Self::Error(event) => event.hdr.session_id,
            Self::Dqbuf(event) => event.hdr.session_id,
            Self::Event(event) => event.hdr.session_id,
        }
    }
}

/// A command that the device has.
#[derive(Debug)]
#[must_use]
pub struct Pending(u16);

/// A mapping in shared memory region 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Offset into the region.
    pub addr: u64,
    /// Length of the buffer.
    pub len: u64,
}

/// The driver.
pub struct Client {
    /// What it runs on.
    pub link: Link,
    /// How commands are laid out.
    pub layout: Layout,
    in_flight: HashMap<u16, (Block, Block)>,
    done: HashMap<u16, Reply>,
    event_buffers: HashMap<u16, Block>,
    /// Events that arrived while something else was waited for.
    arrived: VecDeque<WireEvent>,
    /// Whether a buffer goes back to the event queue as soon as its event is read.
    pub repost: bool,
}

impl Client {
    /// Connects over `stream`.
    ///
    /// # Errors
    ///
    /// The daemon refused something, or went away.
    pub fn new(stream: UnixStream, options: &Options) -> io::Result<Self> {
        let mut client = Self {
            link: Link::new(stream, options)?,
            layout: Layout::Two,
            in_flight: HashMap::new(),
            done: HashMap::new(),
            event_buffers: HashMap::new(),
            arrived: VecDeque::new(),
            repost: true,
        };
        client.post_event_buffers(options.event_buffers);
        Ok(client)
    }

    /// Resets the device, as a guest's reboot does. Commands in flight are forgotten.
    ///
    /// # Errors
    ///
    /// The daemon refused something, or went away.
    pub fn restart(&mut self) -> io::Result<()> {
        self.link.restart()?;
        self.in_flight.clear();
        self.done.clear();
        self.arrived.clear();
        let buffers = std::mem::take(&mut self.event_buffers).len();
        self.post_event_buffers(buffers);
        Ok(())
    }

    // Commands in bytes.

    /// Gives the device a command: what it reads, and space for what it writes.
    pub fn submit(&mut self, readable: &[u8], writable: usize) -> Pending {
        let since = self.link.commands.avail_index();
        let pending = self.submit_quietly(readable, writable);
        self.link.commands.notify(since);
        pending
    }

    /// As [`submit`](Self::submit), but the device is not told: the next `submit` tells of both.
    pub fn submit_quietly(&mut self, readable: &[u8], writable: usize) -> Pending {
        let memory = &self.link.memory;
        let input = memory.place(readable);
        let output = memory.place(&vec![UNWRITTEN; writable]);
        let parts = [Segment::readable(&input), Segment::writable(&output)];
        let parts = parts.into_iter().filter(|segment| segment.len > 0);
        let ring = &mut self.link.commands;
        let head = match self.layout {
            Layout::Two => ring.add(&parts.collect::<Vec<_>>()),
            Layout::Indirect => ring.add_indirect(&parts.collect::<Vec<_>>()),
            Layout::Split(size) => {
                ring.add(&parts.flat_map(|part| part.split(size)).collect::<Vec<_>>())
            }
            Layout::IndirectSplit(size) => {
                ring.add_indirect(&parts.flat_map(|part| part.split(size)).collect::<Vec<_>>())
            }
        };
        // Of a command that nobody waited for.
        self.done.remove(&head);
        self.in_flight.insert(head, (input, output));
        Pending(head)
    }

    /// Waits for the device to be done with a command.
    ///
    /// # Errors
    ///
    /// `TimedOut`, after `timeout`.
    pub fn wait_for(&mut self, pending: Pending, timeout: Duration) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.done.remove(&pending.0) {
                return Ok(reply);
            }
            let used = self.link.commands.wait_used(timeout)?;
            self.complete(used);
        }
    }

    fn complete(&mut self, used: Used) {
        let head = u16::try_from(used.id).expect("the device used a chain that cannot be");
        let (_, output) = self
            .in_flight
            .remove(&head)
            .expect("the device used a chain that it did not have");
        assert!(
            used.len <= output.len,
            "the device says it wrote {} bytes into {}",
            used.len,
            output.len
        );
        let bytes = output.bytes();
        let beyond = &bytes[used.len as usize..];
        assert!(
            beyond.iter().all(|byte| *byte == UNWRITTEN),
            "the device wrote more than the {} bytes it tells of",
            used.len
        );
        let reply = Reply {
            len: used.len,
            bytes,
        };
        self.done.insert(head, reply);
    }

    /// Replies to commands that the device is done with and nobody waited for, oldest first.
    pub fn reap(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(used) = self.link.commands.pop_used() {
            let head = used.id as u16;
            self.complete(used);
            replies.extend(self.done.remove(&head));
        }
        replies
    }

    /// Waits for the device to be done with a command, for as long as is right.
    #[track_caller]
    pub fn wait(&mut self, pending: Pending) -> Reply {
        self.wait_for(pending, PATIENCE)
            .expect("the daemon does not answer a command")
    }

    /// Gives the device a command and waits for its reply.
    #[track_caller]
    pub fn command(&mut self, readable: &[u8], writable: usize) -> Reply {
        let pending = self.submit(readable, writable);
        self.wait(pending)
    }

    // Commands as a driver sends them.

    /// VIRTIO_MEDIA_CMD_OPEN.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn open(&mut self) -> Result<u32, Errno> {
        let reply = self.command(CmdOpen::new().as_bytes(), size_of::<RespOpen>());
        check(&reply)?;
        let response = RespOpen::read_from_bytes(reply.written()).expect("a short response");
        Ok(response.session_id)
    }

    /// VIRTIO_MEDIA_CMD_CLOSE: returns when the device has taken the command.
    #[track_caller]
    pub fn close(&mut self, session: u32) {
        let reply = self.command(CmdClose::new(session).as_bytes(), 0);
        assert_eq!(reply.len, 0, "CLOSE has no response");
    }

    /// VIRTIO_MEDIA_CMD_IOCTL in bytes: `payload`, `array` and `memory` go in the order of the
    /// specification, and there is space for whatever may come back.
    #[track_caller]
    pub fn ioctl_raw(
        &mut self,
        session: u32,
        code: u32,
        payload: &[u8],
        array: &[u8],
        memory: &[u8],
    ) -> Reply {
        let (readable, writable) = ioctl_parts(session, code, payload, array, memory);
        self.command(&readable, writable)
    }

    /// An ioctl whose payload is a `T` without anything behind it. `T` takes what comes back, as
    /// long as the device writes it: after errors too.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn ioctl<T>(&mut self, session: u32, code: u32, payload: &mut T) -> Result<(), Errno>
    where
        T: FromBytes + IntoBytes + Immutable + KnownLayout,
    {
        let reply = self.ioctl_raw(session, code, payload.as_bytes(), &[], &[]);
        if let Ok((back, _)) = T::read_from_prefix(reply.written().get(8..).unwrap_or(&[])) {
            *payload = back;
        }
        check_ioctl(&reply, ioctl::lookup(code))
    }

    /// QUERYBUF, QBUF or PREPARE_BUF. `memory` holds SG lists or UUIDs.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn buffer(
        &mut self,
        session: u32,
        code: u32,
        buffer: &mut Buffer,
        planes: &mut [Plane],
        memory: &[u8],
    ) -> Result<(), Errno> {
        let reply = self.ioctl_raw(session, code, buffer.as_bytes(), planes.as_bytes(), memory);
        let back = reply.written().get(8..).unwrap_or(&[]);
        if let Ok((value, rest)) = Buffer::read_from_prefix(back) {
            *buffer = value;
            for (plane, bytes) in planes.iter_mut().zip(rest.chunks_exact(64)) {
                *plane = Plane::read_from_bytes(bytes).expect("64 bytes");
            }
        }
        check(&reply)
    }

    /// G/S/TRY_EXT_CTRLS. `memory` holds SG lists.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn ext_controls(
        &mut self,
        session: u32,
        code: u32,
        header: &mut ExtControls,
        controls: &mut [ExtControl],
        memory: &[u8],
    ) -> Result<(), Errno> {
        header.count = controls.len() as u32;
        let reply = self.ioctl_raw(
            session,
            code,
            header.as_bytes(),
            controls.as_bytes(),
            memory,
        );
        let back = reply.written().get(8..).unwrap_or(&[]);
        if let Ok((value, rest)) = ExtControls::read_from_prefix(back) {
            *header = value;
            for (control, bytes) in controls.iter_mut().zip(rest.chunks_exact(20)) {
                *control = ExtControl::read_from_bytes(bytes).expect("20 bytes");
            }
        }
        check(&reply)
    }

    /// REQBUFS of `count` buffers with `V4L2_MEMORY_*` `memory`: how many there are now.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn reqbufs(
        &mut self,
        session: u32,
        (type_, count, memory): (u32, u32, u32),
    ) -> Result<u32, Errno> {
        let mut request = RequestBuffers {
            count,
            type_,
            memory,
            ..RequestBuffers::default()
        };
        self.ioctl(session, ioctl::REQBUFS, &mut request)?;
        assert_eq!(request.memory, memory);
        Ok(request.count)
    }

    /// EXPBUF of a plane.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn expbuf(
        &mut self,
        session: u32,
        (type_, index, plane): (u32, u32, u32),
    ) -> Result<Uuid, Errno> {
        let export = ExportBuffer {
            type_,
            index,
            plane,
            ..ExportBuffer::default()
        };
        let empty = Uuid::default();
        let reply = self.ioctl_raw(session, ioctl::EXPBUF, export.as_bytes(), &[], &empty.0);
        match reply.status() {
            Some(0) => {
                let uuid = reply.written().get(8 + size_of::<ExportBuffer>()..);
                Ok(Uuid::read_from_bytes(uuid.unwrap_or(&[])).expect("a UUID"))
            }
            status => Err(Errno::from_raw(status.unwrap_or(0).cast_signed())),
        }
    }

    /// VIRTIO_MEDIA_CMD_MMAP, read-write.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn mmap(&mut self, session: u32, offset: u32) -> Result<Mapping, Errno> {
        self.mmap_with(session, MMAP_FLAG_RW, offset)
    }

    /// VIRTIO_MEDIA_CMD_MMAP.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn mmap_with(&mut self, session: u32, flags: u32, offset: u32) -> Result<Mapping, Errno> {
        let command = CmdMmap::new(session, flags, offset);
        let reply = self.command(command.as_bytes(), size_of::<RespMmap>());
        check(&reply)?;
        let response = RespMmap::read_from_bytes(reply.written()).expect("a short response");
        Ok(Mapping {
            addr: response.driver_addr,
            len: response.len,
        })
    }

    /// VIRTIO_MEDIA_CMD_MUNMAP.
    ///
    /// # Errors
    ///
    /// The device's errno.
    #[track_caller]
    pub fn munmap(&mut self, addr: u64) -> Result<(), Errno> {
        let reply = self.command(CmdMunmap::new(addr).as_bytes(), size_of::<RespHeader>());
        check(&reply)
    }

    // Events.

    /// Leaves `count` more buffers on the event queue.
    pub fn post_event_buffers(&mut self, count: usize) {
        let since = self.link.events.avail_index();
        for _ in 0..count {
            self.post_event_buffer(MAX_EVENT_SIZE);
        }
        if count > 0 {
            self.link.events.notify(since);
        }
    }

    /// Leaves a buffer of `size` bytes on the event queue, without a kick.
    pub fn post_event_buffer(&mut self, size: usize) {
        let block = self.link.memory.place(&vec![UNWRITTEN; size]);
        let head = self.link.events.add(&[Segment::writable(&block)]);
        self.event_buffers.insert(head, block);
    }

    /// Buffers that the device has for events.
    pub fn event_buffers(&self) -> usize {
        self.event_buffers.len()
    }

    /// The next event, if the device has put it on the queue.
    pub fn poll_event(&mut self) -> Option<WireEvent> {
        while let Some(used) = self.link.events.pop_used() {
            self.take_event(used);
        }
        self.arrived.pop_front()
    }

    /// Waits for the next event, at most `timeout`.
    pub fn wait_event(&mut self, timeout: Duration) -> Option<WireEvent> {
        if let Some(event) = self.poll_event() {
            return Some(event);
        }
        let used = self.link.events.wait_used(timeout).ok()?;
        self.take_event(used);
        self.arrived.pop_front()
    }

    /// Waits for the next event, for as long as is right.
    #[track_caller]
    pub fn event(&mut self) -> WireEvent {
        self.wait_event(PATIENCE).expect("no event comes")
    }

    fn take_event(&mut self, used: Used) {
        let head = u16::try_from(used.id).expect("the device used a chain that cannot be");
        let block = self
            .event_buffers
            .remove(&head)
            .expect("the device used an event buffer that it did not have");
        let bytes = block.bytes();
        let event = bytes
            .get(..used.len as usize)
            .expect("an event larger than its buffer");
        self.arrived.push_back(WireEvent::parse(event));
        drop(block);
        if self.repost {
            self.post_event_buffers(1);
        }
    }
}

/// The readable part of an IOCTL command, and the size of its writable part.
pub fn ioctl_parts(
    session: u32,
    code: u32,
    payload: &[u8],
    array: &[u8],
    memory: &[u8],
) -> (Vec<u8>, usize) {
    let mut readable = CmdIoctl::new(session, code).as_bytes().to_vec();
    let mut writable = size_of::<RespHeader>();
    let Some(ioctl) = ioctl::lookup(code) else {
        // Nobody knows what goes where: both ways.
        readable.extend_from_slice(payload);
        return (readable, writable + payload.len());
    };
    if ioctl.direction.to_device() {
        readable.extend([payload, array, memory].concat());
    }
    if ioctl.direction.to_driver() {
        writable += payload.len() + array.len();
        // SG lists do not come back, UUIDs do.
        if carries_uuids(ioctl, payload) {
            writable += memory.len();
        }
    }
    (readable, writable)
}

fn carries_uuids(ioctl: &Ioctl, payload: &[u8]) -> bool {
    match ioctl.attached {
        Attached::Uuid => true,
        Attached::Planes => Buffer::read_from_prefix(payload)
            .is_ok_and(|(buffer, _)| buffer.memory == MEMORY_DMABUF),
        _ => false,
    }
}

#[track_caller]
fn check(reply: &Reply) -> Result<(), Errno> {
    match reply.status().expect("a reply without a header") {
        0 => Ok(()),
        status => {
            let errno = i32::try_from(status).map_or(Errno::UnknownErrno, Errno::from_raw);
            assert_ne!(errno, Errno::UnknownErrno, "status {status} is no errno");
            Err(errno)
        }
    }
}

/// As [`check`]; a success without payload is no success.
#[track_caller]
fn check_ioctl(reply: &Reply, ioctl: Option<&Ioctl>) -> Result<(), Errno> {
    check(reply)?;
    if let Some(ioctl) = ioctl
        && ioctl.direction.to_driver()
    {
        let size = size_of::<RespHeader>() + ioctl.size;
        assert!(reply.len as usize >= size, "{}: no payload", ioctl.name);
    }
    Ok(())
}
