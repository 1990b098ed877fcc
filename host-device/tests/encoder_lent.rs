// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Where an encoder finds frames, by address: in the memory that they were written to, whosever
//! that is.

mod encoder_support;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use encoder_support::fake::{self, Seen};
use encoder_support::{Client, Got, encoder};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use protocol::wire::sg::{SgEntry, Uuid};
use protocol::wire::v4l2::{Buffer, ExportBuffer, Plane, RequestBuffers};
use virtio_v4l2d::counters::Counters;
use virtio_v4l2d::device::encoder::Settings;
use virtio_v4l2d::device::gst::memory::wrap;
use virtio_v4l2d::device::{BufferArgs, WireMemory};
use virtio_v4l2d::memory::{
    Access, GuestMemory, ImportAs, Ledger, Lookup, PlaneMemory, Vm, probe_udmabuf,
};
use virtio_v4l2d::v4l2::core::uapi::*;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

const PAGE: u64 = 4096;
const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
const FOREIGN: Uuid = Uuid([9; 16]);

/// Whether the host has /dev/udmabuf. Where it is to be there it is.
fn udmabuf() -> bool {
    let wanted = std::env::var_os("VIRTIO_V4L2_REQUIRE_UDMABUF").is_some();
    assert!(probe_udmabuf() || !wanted, "no /dev/udmabuf here");
    probe_udmabuf()
}

/// What encoders saw is kept in one place.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn memfd(name: &str, len: usize, sealed: bool) -> File {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create(name, flags).unwrap());
    file.set_len(len as u64).unwrap();
    if sealed {
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
    }
    file
}

/// Another device, with one object.
#[derive(Clone)]
struct Other {
    file: Arc<File>,
    asked: Arc<Mutex<u32>>,
}

impl Lookup for Other {
    fn lookup(&self, uuid: Uuid) -> Result<OwnedFd, Errno> {
        *self.asked.lock().unwrap() += 1;
        if uuid != FOREIGN {
            return Err(Errno::ENOENT);
        }
        Ok(self.file.try_clone().unwrap().into())
    }
}

struct Rig {
    guest: GuestMemoryMmap,
    vm: Vm,
    other: Other,
    counters: Arc<Counters>,
    _alone: MutexGuard<'static, ()>,
}

impl Rig {
    /// A VM whose guest has 4 MiB from address 0 on, and another device whose object is `object`.
    fn new(object: File) -> Self {
        let alone = alone();
        let size = 4 << 20;
        let file = FileOffset::new(memfd("frames", size, true), 0);
        let ranges = [(GuestAddress(0), size, Some(file))];
        let guest = GuestMemoryMmap::from_ranges_with_files(ranges).unwrap();
        let counters = Counters::new();
        let other = Other {
            file: Arc::new(object),
            asked: Arc::default(),
        };
        let vm = Vm::new(
            GuestMemory::new(guest.clone()),
            Ledger::new(1 << 30, None),
            other.clone(),
            Arc::clone(&counters),
            None,
        );
        vm.set_keeps_pages(true);
        fake::register();
        fake::seen();
        fake::caps();
        Self {
            guest,
            vm,
            other,
            counters,
            _alone: alone,
        }
    }

    fn sealed() -> Self {
        Self::new(memfd("object", 128 << 10, true))
    }

    /// A client whose OUTPUT queue has four buffers of `memory`.
    fn client(&self, raw: &[u8; 4], memory: u32) -> Client {
        self.client_of(fake::prompt::NAME, raw, memory)
    }

    /// As [`client`](Self::client), of another element.
    fn client_of(&self, element: &str, raw: &[u8; 4], memory: u32) -> Client {
        let mut client = Client::of(
            &encoder(Settings {
                formats: encoder_support::all_formats().formats,
                elements: [("h264", element.to_owned())].into(),
                ..Settings::default()
            }),
            self.vm.clone(),
        );
        client.formats(raw, WIDTH, HEIGHT);
        let mut request = RequestBuffers {
            count: 4,
            type_: OUTPUT,
            memory,
            ..Default::default()
        };
        client.session.reqbufs(&mut request).unwrap();
        client.reqbufs(CAPTURE, 4).unwrap();
        client.remember(4, 16);
        for index in 0..16 {
            client.queue_capture(index).unwrap();
        }
        client.streamon();
        client
    }

    fn maps(&self) -> u64 {
        self.counters.maps.load(Ordering::SeqCst)
    }
}

/// Queues a raw frame, and waits for it to come back.
#[track_caller]
fn encode(
    client: &mut Client,
    index: u32,
    memory: u32,
    lengths: &[u32],
    lent: WireMemory,
) -> Vec<Seen> {
    queue(client, index, memory, lengths, lent).unwrap();
    client.until(|got| match got {
        Got::Raw(buffer, _) => {
            assert_eq!((buffer.index, buffer.memory), (index, memory));
            assert_eq!(buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
            Some(())
        }
        Got::Coded(..) | Got::Event(_) => None,
    });
    let mut seen = fake::seen();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

fn queue(
    client: &mut Client,
    index: u32,
    memory: u32,
    lengths: &[u32],
    lent: WireMemory,
) -> Result<(), Errno> {
    let mut planes: Vec<Plane> = lengths
        .iter()
        .map(|length| Plane {
            length: *length,
            ..Default::default()
        })
        .collect();
    client.session.qbuf(BufferArgs {
        buffer: &mut Buffer {
            index,
            type_: OUTPUT,
            memory,
            length: planes.len() as u32,
            ..Default::default()
        },
        planes: &mut planes,
        memory: lent,
    })
}

/// The file that is mapped at `address`, and where in it.
fn mapped(address: usize) -> (String, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
        let (start, end) = fields[0].split_once('-').unwrap();
        if (number(start)..number(end)).contains(&address) {
            let offset = number(fields[2]) + address - number(start);
            let name = fields.get(5).copied().unwrap_or_default();
            return (name.to_owned(), offset as u64);
        }
    }
    panic!("nothing is mapped at {address:#x}");
}

#[test]
fn mmap_frames_are_where_the_guest_wrote_them() {
    let rig = Rig::sealed();
    for raw in [b"NV12", b"YM12"] {
        let mut client = rig.client(raw, MEMORY_MMAP);
        for index in [0, 3, 0] {
            let planes = client.querybuf(OUTPUT, index).unwrap().1;
            let starts: Vec<usize> = planes
                .iter()
                .map(|plane| {
                    let memory = client.session.mmap(plane.m as u32).unwrap();
                    let whole = wrap(&memory.clone().into(), 0..memory.len(), || ()).unwrap();
                    whole.map_readable().unwrap().as_ptr() as usize
                })
                .collect();
            let lengths: Vec<u32> = planes.iter().map(|plane| plane.length).collect();
            let seen = encode(
                &mut client,
                index,
                MEMORY_MMAP,
                &lengths,
                WireMemory::Nothing,
            );
            let found: Vec<usize> = seen.iter().map(|seen| seen.address).collect();
            assert_eq!(found, starts);
            assert!(seen.iter().all(|seen| seen.dmabuf == udmabuf()));
        }
    }
    assert_eq!(rig.counters.raw_bytes_copied.load(Ordering::SeqCst), 0);
}

/// Single pages, in disorder: the encoder reads the guest's file, and nothing is mapped for a frame
/// that comes again.
#[test]
fn lent_frames_are_where_the_guest_wrote_them() {
    let rig = Rig::sealed();
    for (raw, sizes) in [
        (b"NV12", &[WIDTH * HEIGHT * 3 / 2][..]),
        (
            b"YM12",
            &[WIDTH * HEIGHT, WIDTH * HEIGHT / 4, WIDTH * HEIGHT / 4],
        ),
    ] {
        let mut client = rig.client(raw, MEMORY_USERPTR);
        let mut known = Vec::new();
        for round in 0..3_u8 {
            let before = rig.maps();
            for index in 0..4 {
                let mut page = 100 + 40 * u64::from(index);
                let mut starts = Vec::new();
                let lists: Vec<Vec<SgEntry>> = sizes
                    .iter()
                    .map(|size| {
                        starts.push((page - 1) * PAGE + 64);
                        let mut left = *size;
                        let mut entries = Vec::new();
                        while left > 0 {
                            page -= 1;
                            let skip = if entries.is_empty() { 64 } else { 0 };
                            let now = left.min(PAGE as u32 - skip);
                            entries.push(SgEntry::new(page * PAGE + u64::from(skip), now));
                            left -= now;
                        }
                        entries
                    })
                    .collect();
                for (at, start) in starts.iter().enumerate() {
                    let value = 16 * (at as u8) + 4 * (index as u8) + round;
                    rig.guest.write_obj(value, GuestAddress(*start)).unwrap();
                }
                let seen = encode(
                    &mut client,
                    index,
                    MEMORY_USERPTR,
                    sizes,
                    WireMemory::Pages(lists),
                );
                for (at, (seen, start)) in seen.iter().zip(&starts).enumerate() {
                    assert_eq!(seen.first, 16 * (at as u8) + 4 * (index as u8) + round);
                    assert_eq!(seen.dmabuf, udmabuf());
                    let (file, offset) = mapped(seen.address);
                    if seen.dmabuf {
                        assert!(file.contains("dmabuf"), "{file}");
                        assert_eq!(offset, 64);
                    } else {
                        assert!(file.contains("memfd:frames"), "{file}");
                        assert_eq!(offset, *start);
                    }
                }
                known.push(seen.iter().map(|seen| seen.address).collect::<Vec<_>>());
            }
            assert_eq!(rig.maps() == before, round > 0, "mapped once");
        }
        assert_eq!(known[..4], known[8..], "the same addresses again");
        drop(client);
    }
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst);
    assert_eq!(count(&rig.counters.raw_bytes_copied), 0);
    // Each view has one end, however many pieces it had.
    assert_eq!(count(&rig.counters.unmaps), 4 + 12);
}

#[test]
fn exported_frames_are_where_they_were_made() {
    let rig = Rig::sealed();
    let mut source = rig.client(b"NV12", MEMORY_MMAP);
    let mut client = rig.client(b"NV12", MEMORY_DMABUF);
    let before = rig.maps();
    for index in 0..4 {
        let mut uuid = Uuid::default();
        let mut export = ExportBuffer {
            type_: OUTPUT,
            index,
            ..Default::default()
        };
        source.session.expbuf(&mut export, &mut uuid).unwrap();
        let offset = source.querybuf(OUTPUT, index).unwrap().1[0].m as u32;
        let buffer = source.session.mmap(offset).unwrap();
        buffer.write_at(0, &[index as u8 + 1]).unwrap();
        let whole = wrap(&buffer.clone().into(), 0..buffer.len(), || ()).unwrap();
        let start = whole.map_readable().unwrap().as_ptr() as usize;
        let length = buffer.mapped_len() as u32;
        for round in 0..2 {
            let lent = WireMemory::Objects(vec![uuid]);
            let seen = encode(
                &mut client,
                (index + round) % 4,
                MEMORY_DMABUF,
                &[length],
                lent,
            );
            assert_eq!((seen[0].address, seen[0].first), (start, index as u8 + 1));
        }
        let lent = WireMemory::Objects(vec![uuid]);
        let too_long = queue(&mut client, index, MEMORY_DMABUF, &[length + 1], lent);
        assert_eq!(too_long, Err(Errno::EINVAL));
    }
    assert_eq!(rig.maps(), before);
    assert_eq!(*rig.other.asked.lock().unwrap(), 0);
}

#[test]
fn objects_of_other_devices_are_mapped_once() {
    let rig = Rig::sealed();
    let mut client = rig.client(b"NV12", MEMORY_DMABUF);
    let length = 128 << 10;
    let mut known = Vec::new();
    for round in 0..3_u8 {
        use std::os::unix::fs::FileExt;
        rig.other.file.write_at(&[round + 1], 0).unwrap();
        let lent = WireMemory::Objects(vec![FOREIGN]);
        let seen = encode(&mut client, 2, MEMORY_DMABUF, &[length], lent);
        assert_eq!(seen[0].first, round + 1);
        assert_eq!(mapped(seen[0].address), ("/memfd:object".to_owned(), 0));
        known.push(seen[0].address);
    }
    assert!(known.iter().all(|address| *address == known[0]));
    assert_eq!(*rig.other.asked.lock().unwrap(), 1);
    assert_eq!(rig.maps(), 1);
    let mut refused = |uuid, length| {
        let lent = WireMemory::Objects(vec![uuid]);
        queue(&mut client, 1, MEMORY_DMABUF, &[length], lent)
    };
    assert_eq!(refused(FOREIGN, length + 1), Err(Errno::EINVAL));
    assert_eq!(refused(FOREIGN, 1000), Err(Errno::EINVAL));
    assert_eq!(refused(Uuid([8; 16]), length), Err(Errno::EINVAL));
    assert_eq!(*rig.other.asked.lock().unwrap(), 2);
    let mut request = RequestBuffers {
        type_: OUTPUT,
        memory: MEMORY_DMABUF,
        ..Default::default()
    };
    client.session.streamoff(OUTPUT).unwrap();
    client.session.reqbufs(&mut request).unwrap();
    assert_eq!(rig.counters.unmaps.load(Ordering::SeqCst), 1);
}

/// A file that could be cut short under us is no object.
#[test]
fn an_object_must_keep_its_size() {
    for object in [
        memfd("unsealed", 1 << 20, false),
        memfd("empty", 0, true),
        File::open("/proc/self/maps").unwrap(),
    ] {
        let rig = Rig::new(object);
        let mut client = rig.client(b"NV12", MEMORY_DMABUF);
        let lent = WireMemory::Objects(vec![FOREIGN]);
        let result = queue(&mut client, 0, MEMORY_DMABUF, &[128 << 10], lent);
        assert_eq!(result, Err(Errno::EINVAL));
        assert_eq!(rig.maps(), 0);
    }
}

/// PREPARE_BUF settles what is lent; QBUF then takes it as it is.
#[test]
fn prepared_memory_stays() {
    let rig = Rig::sealed();
    let mut client = rig.client(b"NV12", MEMORY_USERPTR);
    let size = WIDTH * HEIGHT * 3 / 2;
    let pages = |page: u64| WireMemory::Pages(vec![vec![SgEntry::new(page * PAGE, size)]]);
    for (page, value) in [(10, 1_u8), (50, 2)] {
        rig.guest
            .write_obj(value, GuestAddress(page * PAGE))
            .unwrap();
    }
    let prepare = |client: &mut Client, lent| {
        let mut plane = [Plane {
            length: size,
            ..Default::default()
        }];
        client.session.prepare_buf(BufferArgs {
            buffer: &mut Buffer {
                type_: OUTPUT,
                memory: MEMORY_USERPTR,
                length: 1,
                ..Default::default()
            },
            planes: &mut plane,
            memory: lent,
        })
    };
    prepare(&mut client, pages(10)).unwrap();
    assert_eq!(prepare(&mut client, pages(50)), Err(Errno::EINVAL));
    let seen = encode(&mut client, 0, MEMORY_USERPTR, &[size], pages(50));
    assert_eq!(seen[0].first, 1);
    // Given back: the next one is what it says.
    let seen = encode(&mut client, 0, MEMORY_USERPTR, &[size], pages(50));
    assert_eq!(seen[0].first, 2);
}

/// A view that GStreamer holds outlives its session.
#[test]
fn memory_lives_for_as_long_as_somebody_reads_it() {
    let rig = Rig::sealed();
    gstreamer::init().unwrap();
    rig.guest.write_obj(77_u8, GuestAddress(3 * PAGE)).unwrap();
    let entries = [SgEntry::new(3 * PAGE, 5000)];
    let view = rig.vm.view(&entries, Access::Read, ImportAs::Any).unwrap();
    let memory = wrap(&PlaneMemory::View(view), 0..5000, || ()).unwrap();
    let counters = Arc::clone(&rig.counters);
    drop(rig);
    assert_eq!(memory.map_readable().unwrap()[0], 77);
    assert_eq!(counters.unmaps.load(Ordering::SeqCst), 0);
    drop(memory);
    assert_eq!(counters.unmaps.load(Ordering::SeqCst), 1);
}

/// Elements that want to know of dmabufs are told, frame by frame; others never are.
#[test]
fn dmabufs_are_announced_to_those_who_take_them() {
    let rig = Rig::sealed();
    let size = WIDTH * HEIGHT * 3 / 2;
    // In more pieces than any dmabuf may have.
    let scattered: Vec<SgEntry> = (0..2000)
        .map(|n| SgEntry::new((1 + n % 2 * 500) * PAGE, PAGE as u32))
        .collect();
    for (element, takes) in [(fake::dmabuf::NAME, true), (fake::prompt::NAME, false)] {
        let mut client = rig.client_of(element, b"NV12", MEMORY_DMABUF);
        for is_dmabuf in [true, true, false, false, true] {
            let (memory, length, lent) = if is_dmabuf {
                (MEMORY_DMABUF, size, WireMemory::Objects(vec![FOREIGN]))
            } else {
                let length = 2000 * PAGE as u32;
                (
                    MEMORY_USERPTR,
                    length,
                    WireMemory::Pages(vec![scattered.clone()]),
                )
            };
            let seen = encode(&mut client, 0, memory, &[length], lent);
            assert_eq!(seen[0].dmabuf, is_dmabuf);
        }
        let told: Vec<bool> = fake::caps()
            .iter()
            .map(|caps| caps.features(0).unwrap().contains("memory:DMABuf"))
            .collect();
        // An encoder starts with what frames are likely to be.
        let expected: &[bool] = match (takes, udmabuf()) {
            (true, false) => &[false, true, false, true],
            (true, true) => &[true, false, true],
            (false, _) => &[false],
        };
        assert_eq!(told, expected, "{element}");
    }
}
