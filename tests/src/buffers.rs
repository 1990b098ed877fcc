// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The buffers of one queue of any type, single-planar or not, as a program in the guest has them.

use nix::errno::Errno;
use protocol::wire::event::EventDqbuf;
use protocol::wire::ioctl;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{Buffer, FIELD_NONE, Plane, VIDEO_MAX_PLANES, is_multiplanar};
use zerocopy::IntoBytes;

use crate::client::{Client, Mapping, WireEvent};
use crate::pages::Pages;
use crate::stream::Memory;

/// Buffers of a queue.
#[derive(Debug)]
pub struct Buffers {
    /// The session.
    pub session: u32,
    /// `V4L2_BUF_TYPE_*`.
    pub type_: u32,
    /// `V4L2_MEMORY_*`.
    pub memory: u32,
    /// Buffers, with the length of each of their planes.
    pub lengths: Vec<Vec<u32>>,
    /// Where planes are mapped: MMAP.
    pub mapped: Vec<Vec<Mapping>>,
    /// Where planes are in the guest: USERPTR.
    pub pages: Vec<Vec<Pages>>,
    /// Objects of planes, which the test fills in: DMABUF.
    pub objects: Vec<Vec<Uuid>>,
}

impl Buffers {
    /// REQBUFS of `count` buffers, which are mapped or get memory.
    ///
    /// # Errors
    ///
    /// The errno of the ioctl that failed.
    pub fn request(
        client: &mut Client,
        session: u32,
        (type_, count, memory): (u32, u32, Memory),
    ) -> Result<Self, Errno> {
        let number = memory.number();
        let count = client.reqbufs(session, (type_, count, number))?;
        let mut buffers = Self {
            session,
            type_,
            memory: number,
            lengths: Vec::new(),
            mapped: Vec::new(),
            pages: Vec::new(),
            objects: Vec::new(),
        };
        for index in 0..count {
            let (buffer, planes) = buffers.query(client, index)?;
            let planes = if is_multiplanar(type_) {
                planes
            } else {
                vec![Plane {
                    length: buffer.length,
                    m: buffer.m,
                    ..Plane::default()
                }]
            };
            buffers
                .lengths
                .push(planes.iter().map(|plane| plane.length).collect());
            match memory {
                Memory::Mmap => {
                    let mut mapped = Vec::new();
                    for plane in &planes {
                        let offset = u32::try_from(plane.m).expect("an offset of 32 bits");
                        mapped.push(client.mmap(session, offset)?);
                    }
                    buffers.mapped.push(mapped);
                }
                Memory::Objects => {}
                Memory::InARow | Memory::Scattered(_) => {
                    let lengths = planes.iter().map(|plane| plane.length as usize);
                    let memory = lengths.filter_map(|length| memory.pages(client, length));
                    buffers.pages.push(memory.collect());
                }
            }
        }
        Ok(buffers)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.lengths.len() as u32
    }

    /// QUERYBUF.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn query(&self, client: &mut Client, index: u32) -> Result<(Buffer, Vec<Plane>), Errno> {
        let mut buffer = self.buffer(index);
        let mut planes = Vec::new();
        if is_multiplanar(self.type_) {
            planes = vec![Plane::default(); VIDEO_MAX_PLANES];
            buffer.length = VIDEO_MAX_PLANES as u32;
        }
        client.buffer(self.session, ioctl::QUERYBUF, &mut buffer, &mut planes, &[])?;
        planes.truncate(buffer.length as usize);
        Ok((buffer, planes))
    }

    /// `struct v4l2_buffer` of buffer `index`.
    pub fn buffer(&self, index: u32) -> Buffer {
        Buffer {
            index,
            type_: self.type_,
            memory: self.memory,
            field: FIELD_NONE,
            ..Buffer::default()
        }
    }

    /// QBUF. `used` has how much of each plane is used, for output.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn queue(&self, client: &mut Client, index: u32, used: &[usize]) -> Result<(), Errno> {
        self.queue_as(client, self.buffer(index), used)
    }

    /// As [`queue`](Self::queue), with what `buffer` has.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn queue_as(
        &self,
        client: &mut Client,
        mut buffer: Buffer,
        used: &[usize],
    ) -> Result<(), Errno> {
        let index = buffer.index as usize;
        let lengths = &self.lengths[index];
        let used = |plane: usize| used.get(plane).copied().unwrap_or(0) as u32;
        let mut planes = Vec::new();
        if is_multiplanar(self.type_) {
            planes.extend(lengths.iter().enumerate().map(|(at, length)| Plane {
                bytesused: used(at),
                length: *length,
                ..Plane::default()
            }));
            buffer.length = planes.len() as u32;
        } else {
            buffer.length = lengths[0];
            buffer.bytesused = used(0);
        }
        let mut memory: Vec<u8> = Vec::new();
        if let Some(pages) = self.pages.get(index) {
            memory.extend(pages.iter().flat_map(Pages::as_bytes));
        }
        if let Some(objects) = self.objects.get(index) {
            memory.extend(objects.as_bytes());
        }
        client.buffer(self.session, ioctl::QBUF, &mut buffer, &mut planes, &memory)
    }

    /// QBUF of all of them, with nothing in them.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn queue_all(&self, client: &mut Client) -> Result<(), Errno> {
        (0..self.count()).try_for_each(|index| self.queue(client, index, &[]))
    }

    /// A queue that captures: [`request`](Self::request), all queued, STREAMON.
    ///
    /// # Panics
    ///
    /// One of the ioctls failed.
    #[track_caller]
    pub fn streaming(client: &mut Client, session: u32, wanted: (u32, u32, Memory)) -> Self {
        let buffers = Self::request(client, session, wanted).unwrap();
        buffers.queue_all(client).unwrap();
        buffers.streamon(client).unwrap();
        buffers
    }

    /// Writes `bytes` into a plane.
    ///
    /// # Panics
    ///
    /// There is no space.
    pub fn write(&self, client: &Client, index: u32, plane: usize, bytes: &[u8]) {
        let index = index as usize;
        if let Some(pages) = self.pages.get(index) {
            pages[plane].write(bytes);
        } else {
            let at = self.mapped[index][plane].addr;
            let written = client.link.shared.write(at, bytes);
            written.expect("a mapped buffer");
        }
    }

    /// What a buffer of this queue that came back has in its planes.
    ///
    /// # Panics
    ///
    /// It is not of this queue, or has more in it than it is long.
    #[track_caller]
    pub fn data(&self, client: &Client, event: &EventDqbuf) -> Vec<Vec<u8>> {
        let buffer = &event.buffer;
        assert_eq!(event.hdr.session_id, self.session);
        assert_eq!((buffer.type_, buffer.memory), (self.type_, self.memory));
        let index = buffer.index as usize;
        let parts: Vec<(u32, u32)> = if is_multiplanar(self.type_) {
            assert_eq!(buffer.length as usize, self.lengths[index].len());
            let planes = event.planes.iter().take(buffer.length as usize);
            planes.map(|p| (p.data_offset, p.bytesused)).collect()
        } else {
            vec![(0, buffer.bytesused)]
        };
        let mut data = Vec::new();
        for (plane, (start, used)) in parts.into_iter().enumerate() {
            assert!(start <= used && used <= self.lengths[index][plane]);
            let len = (used - start) as usize;
            data.push(match self.pages.get(index) {
                Some(pages) => pages[plane].read(start as usize, len),
                None => {
                    let at = self.mapped[index][plane].addr + u64::from(start);
                    client.link.shared.read(at, len).expect("a mapped buffer")
                }
            });
        }
        data
    }

    /// The next buffer of this queue that comes back. Events that come before it are dropped.
    ///
    /// # Panics
    ///
    /// A buffer of another queue comes, or the session is lost.
    #[track_caller]
    pub fn next(&self, client: &mut Client) -> Box<EventDqbuf> {
        loop {
            match client.event() {
                WireEvent::Dqbuf(event) => {
                    assert_eq!(event.hdr.session_id, self.session);
                    assert_eq!(event.buffer.type_, self.type_, "a buffer of another queue");
                    return event;
                }
                WireEvent::Event(_) => {}
                WireEvent::Error(event) => panic!("session lost: {event:?}"),
            }
        }
    }

    /// EXPBUF of a plane.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn export(&self, client: &mut Client, index: u32, plane: u32) -> Result<Uuid, Errno> {
        client.expbuf(self.session, (self.type_, index, plane))
    }

    /// STREAMON.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn streamon(&self, client: &mut Client) -> Result<(), Errno> {
        client.ioctl(self.session, ioctl::STREAMON, &mut self.type_.clone())
    }

    /// STREAMOFF.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn streamoff(&self, client: &mut Client) -> Result<(), Errno> {
        client.ioctl(self.session, ioctl::STREAMOFF, &mut self.type_.clone())
    }

    /// MUNMAP of all mappings.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn unmap(&mut self, client: &mut Client) -> Result<(), Errno> {
        let mapped = std::mem::take(&mut self.mapped);
        let mut mapped = mapped.iter().flatten();
        mapped.try_for_each(|mapping| client.munmap(mapping.addr))
    }

    /// REQBUFS(0).
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn free(&self, client: &mut Client) -> Result<(), Errno> {
        let none = (self.type_, 0, self.memory);
        client.reqbufs(self.session, none).map(drop)
    }
}
