// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The simple capture device of the crate `virtio-media`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Cursor;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::memfd::{MFdFlags, memfd_create};
use protocol::wire::config::{Config, DeviceType};
use protocol::wire::v4l2::{CAP_STREAMING, CAP_VIDEO_CAPTURE_MPLANE};
use virtio_media::devices::SimpleCaptureDevice;
use virtio_media::io::WriteToDescriptorChain;
use virtio_media::protocol::V4l2Event;
use virtio_media::{VirtioMediaDeviceRunner, VirtioMediaEventQueue, VirtioMediaHostMemoryMapper};
use zerocopy::IntoBytes;

use super::backend::{Answer, Device, REGION, Vmm};

const CAPABILITIES: u32 = CAP_VIDEO_CAPTURE_MPLANE | CAP_STREAMING;

const PAGE: u64 = 4096;

/// Events, as bytes.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Vec<u8>>>>);

impl VirtioMediaEventQueue for Events {
    fn send_event(&mut self, event: V4l2Event) {
        let mut bytes = Vec::new();
        match event {
            V4l2Event::Error(event) => bytes.write_obj(event),
            V4l2Event::DequeueBuffer(event) => bytes.write_obj(event),
            V4l2Event::Event(event) => bytes.write_obj(event),
        }
        .expect("memory");
        locked(&self.0).push(bytes);
    }
}

/// A buffer in the shared memory region.
struct Mapped {
    length: u64,
    /// The device's, which is no whole number of pages and cannot grow.
    buffer: File,
    /// What the VMM has mapped: QEMU 11.1 takes whole pages only.
    copy: File,
}

type Mappings = Arc<Mutex<HashMap<u64, Mapped>>>;

/// Puts buffers into the shared memory region, one behind the other.
struct Mapper {
    vmm: Arc<Vmm>,
    next: u64,
    mappings: Mappings,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(error: impl Into<std::io::Error>) -> i32 {
    error.into().raw_os_error().unwrap_or(libc::EIO)
}

impl VirtioMediaHostMemoryMapper for Mapper {
    fn add_mapping(
        &mut self,
        buffer: BorrowedFd,
        length: u64,
        _: u64,
        writable: bool,
    ) -> Result<u64, i32> {
        let length = length.next_multiple_of(PAGE);
        let mut mappings = locked(&self.mappings);
        if mappings.is_empty() {
            self.next = 0;
        }
        let offset = self.next;
        let copy = memfd_create(c"copy", MFdFlags::MFD_CLOEXEC).map_err(errno)?;
        let copy = File::from(copy);
        copy.set_len(length).map_err(errno)?;
        if offset + length > REGION || !self.vmm.map(copy.as_fd(), offset, length, writable) {
            return Err(libc::ENOMEM);
        }
        let buffer = File::from(buffer.try_clone_to_owned().map_err(errno)?);
        self.next += length;
        mappings.insert(
            offset,
            Mapped {
                length,
                buffer,
                copy,
            },
        );
        Ok(offset)
    }

    fn remove_mapping(&mut self, offset: u64) -> Result<(), i32> {
        let mapped = locked(&self.mappings).remove(&offset);
        let length = mapped.ok_or(libc::EINVAL)?.length;
        if self.vmm.unmap(offset, length) {
            Ok(())
        } else {
            Err(libc::EIO)
        }
    }
}

/// Shows the guest what the device has written.
fn show(mappings: &Mappings) {
    for mapped in locked(mappings).values() {
        let mut bytes = vec![0; mapped.length as usize];
        let read = mapped.buffer.read_at(&mut bytes, 0);
        let _ = mapped.copy.write_all_at(&bytes[..read.unwrap_or(0)], 0);
    }
}

type Runner =
    VirtioMediaDeviceRunner<Cursor<Vec<u8>>, Vec<u8>, SimpleCaptureDevice<Events, Mapper>, ()>;

/// The device.
pub struct Simple {
    runner: Runner,
    events: Events,
    mappings: Mappings,
    vmm: Arc<Vmm>,
}

fn runner(events: &Events, mappings: &Mappings, vmm: &Arc<Vmm>) -> Runner {
    let mapper = Mapper {
        vmm: Arc::clone(vmm),
        next: 0,
        mappings: Arc::clone(mappings),
    };
    Runner::new(SimpleCaptureDevice::new(events.clone(), mapper), ())
}

impl Simple {
    /// A device without sessions.
    pub fn new(vmm: Arc<Vmm>) -> Self {
        let events = Events::default();
        let mappings = Mappings::default();
        Self {
            runner: runner(&events, &mappings, &vmm),
            events,
            mappings,
            vmm,
        }
    }
}

impl Device for Simple {
    fn config(&self) -> Vec<u8> {
        let mut card = [0; 32];
        card[..13].copy_from_slice(b"simple_device");
        let config = Config {
            device_caps: CAPABILITIES,
            device_type: DeviceType::Video as u32,
            card,
        };
        config.as_bytes().to_vec()
    }

    fn run(&mut self, command: Vec<u8>, _: usize) -> Answer {
        let mut bytes = Vec::new();
        self.runner
            .handle_command(&mut Cursor::new(command), &mut bytes);
        if !locked(&self.events.0).is_empty() {
            show(&self.mappings);
        }
        Answer {
            bytes,
            claims: None,
        }
    }

    fn events(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *locked(&self.events.0))
    }

    fn reset(&mut self) {
        locked(&self.mappings).clear();
        self.runner = runner(&self.events, &self.mappings, &self.vmm);
    }
}
