// SPDX-License-Identifier: GPL-2.0

//! Abstractions for the virtio bus, as they could stand in the `kernel` crate.
//!
//! A driver implements [`Driver`] and is registered by
//! [`module_virtio_driver!`](crate::module_virtio_driver). Its [`Handler`] has the [`Virtqueue`]s
//! and serves the device's interrupts.
//!
//! # Life of a device
//!
//! 1. [`Driver::probe`]: the driver makes its handler, [finds the queues](Device::find_queues) for
//!    it, declares the device [ready](Device::ready) and offers its service to others.
//! 2. [`Driver::unbind`]: it takes the service away again.
//! 3. The bus resets the device, from when on no interrupt comes and no memory is touched, takes
//!    the queues from the handler (what was in flight is dropped), deletes them and drops the
//!    handler.
//! 4. The driver's private data is dropped.
//!
//! A probe that fails after `find_queues` is undone by step 3 alone.
//!
//! When the system is suspended: [`Driver::freeze`], the first half of step 3, the second half of
//! step 1 with the same handler, [`Driver::restore`].
//!
//! C header: `include/linux/virtio.h`

use crate::bindings;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use kernel::error::{from_result, to_result};
use kernel::prelude::*;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::sync::Arc;
use kernel::types::Opaque;
use kernel::{device, driver};

mod fifo;
pub(crate) mod later;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod sync;

pub(crate) use fifo::{Context, Place};
pub(crate) use later::Later;
pub(crate) use queue::{new_virtqueue, Attach, Notify, Submitted, Virtqueue};
pub(crate) use request::{Completed, Request};

/// An adapter for the registration of virtio drivers.
pub(crate) struct Adapter<T: Driver>(PhantomData<T>);

// SAFETY:
// - `virtio_driver` is a C type declared as `repr(C)` and embeds a `struct device_driver` at that
//   offset.
// - `T::Data` is what `probe_callback` stores as the device's private data.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::virtio_driver;
    type DriverData<'bound> = T::Data;
    const DEVICE_DRIVER_OFFSET: usize = core::mem::offset_of!(Self::DriverType, driver);
}

// SAFETY: `unregister` undoes `register`, which has succeeded before.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        let raw = driver.get();
        // SAFETY: The fields may be set before the driver is registered.
        unsafe {
            (*raw).driver.name = name.as_char_ptr();
            (*raw).id_table = T::ID_TABLE.as_ptr();
            (*raw).feature_table = T::FEATURES.as_ptr();
            (*raw).feature_table_size = T::FEATURES.len() as u32;
            (*raw).probe = Some(Self::probe_callback);
            (*raw).remove = Some(Self::remove_callback);
            (*raw).config_changed = Some(Self::config_changed_callback);
            (*raw).freeze = Some(Self::freeze_callback);
            (*raw).restore = Some(Self::restore_callback);
            (*raw).shutdown = Some(Self::shutdown_callback);
        }
        // SAFETY: `raw` is a valid `virtio_driver`, which stays pinned until `unregister`.
        to_result(unsafe { bindings::__register_virtio_driver(raw, module.as_ptr()) })
    }

    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        // SAFETY: `driver` was registered.
        unsafe { bindings::unregister_virtio_driver(driver.get()) }
    }
}

impl<T: Driver> Adapter<T> {
    extern "C" fn probe_callback(raw: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The bus calls this with a valid device, which is being bound. INVARIANT: It is
        // valid while the callback runs.
        let dev = unsafe { &*raw.cast::<Device<device::CoreInternal<'_>>>() };
        from_result(|| {
            let id = dev.id();
            let result = T::probe(dev, id).and_then(|data| dev.as_ref().set_drvdata(data));
            if result.is_err() {
                Self::tear_down(dev);
            }
            result.map(|()| 0)
        })
    }

    extern "C" fn remove_callback(raw: *mut bindings::virtio_device) {
        // SAFETY: As in `probe_callback`; the device is being unbound.
        let dev = unsafe { &*raw.cast::<Device<device::CoreInternal<'_>>>() };
        // SAFETY: The callback follows a successful probe, which stored a `Pin<KBox<T::Data>>`.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data>() };
        T::unbind(dev, data);
        Self::tear_down(dev);
    }

    extern "C" fn shutdown_callback(raw: *mut bindings::virtio_device) {
        // SAFETY: As in `probe_callback`; the device is bound, and stays so.
        let dev = unsafe { &*raw.cast::<Device<device::CoreInternal<'_>>>() };
        // SAFETY: As in `remove_callback`.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data>() };
        T::shutdown(dev, data);
        // SAFETY: The device is valid and bound.
        unsafe { bindings::virtio_device_shutdown(raw) };
    }

    extern "C" fn config_changed_callback(raw: *mut bindings::virtio_device) {
        // SAFETY: The bus calls this between a successful probe and the removal, with a valid
        // device.
        let dev = unsafe { &*raw.cast::<Device<device::Bound>>() };
        // SAFETY: As above, so the handler does not change.
        if let Some(handler) = unsafe { handler::<T::Handler>(raw) } {
            handler.config_changed(dev);
        }
    }

    /// The system is to be suspended. From here to `restore_callback` the device has no queues.
    extern "C" fn freeze_callback(raw: *mut bindings::virtio_device) -> c_int {
        // SAFETY: As in `probe_callback`; the device is bound, and stays so.
        let dev = unsafe { &*raw.cast::<Device<device::CoreInternal<'_>>>() };
        // SAFETY: As in `remove_callback`.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data>() };
        from_result(|| {
            T::freeze(dev, data)?;
            Self::take_queues(dev);
            Ok(0)
        })
    }

    extern "C" fn restore_callback(raw: *mut bindings::virtio_device) -> c_int {
        // SAFETY: As in `freeze_callback`.
        let dev = unsafe { &*raw.cast::<Device<device::CoreInternal<'_>>>() };
        // SAFETY: As in `remove_callback`.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data>() };
        from_result(|| {
            // SAFETY: The handler lives until `tear_down`, which does not run at the same time.
            if let Some(handler) = unsafe { handler::<T::Handler>(raw) } {
                dev.attach_queues(handler)?;
            }
            T::restore(dev, data).map(|()| 0)
        })
    }

    /// Resets the device, and takes away its queues, with what was in flight.
    fn take_queues(dev: &Device<device::CoreInternal<'_>>) {
        let raw = dev.as_raw();
        // SAFETY: The device is valid and bound to this driver.
        unsafe { bindings::virtio_reset_device(raw) };
        // SAFETY: The handler lives until `tear_down` drops it.
        let Some(handler) = (unsafe { handler::<T::Handler>(raw) }) else {
            return;
        };
        let mut any = false;
        for index in 0..T::Handler::QUEUES.len() {
            if let Some(queue) = handler.queue(index) {
                // SAFETY: The device has been reset.
                any |= unsafe { queue.detach() };
            }
        }
        if any {
            // SAFETY: The queues exist, and nobody uses them any more.
            unsafe { bindings::virtio_helper_del_vqs(raw) };
        }
    }

    /// Step 3 of a device's life.
    fn tear_down(dev: &Device<device::CoreInternal<'_>>) {
        Self::take_queues(dev);
        let raw = dev.as_raw();
        // SAFETY: Nobody but `find_queues` and this function writes to it.
        let pointer = unsafe { core::ptr::replace(&raw mut (*raw).priv_, ptr::null_mut()) };
        if pointer.is_null() {
            return;
        }
        // SAFETY: `find_queues` stored an `Arc` there, and without queues nobody looks at it any
        // more.
        drop(unsafe { Arc::<T::Handler>::from_raw(pointer.cast()) });
    }
}

/// The handler of a device, if it has one.
///
/// # Safety
///
/// `raw` is a valid device bound to a driver with this handler type, and its queues are not deleted
/// while the reference is used.
unsafe fn handler<'a, H: Handler>(raw: *mut bindings::virtio_device) -> Option<&'a H> {
    // SAFETY: `priv_` is null or what `find_queues` stored, which lives as long as the queues.
    unsafe { (*raw).priv_.cast::<H>().as_ref() }
}

/// Declares a kernel module with a single virtio driver.
#[macro_export]
macro_rules! module_virtio_driver {
    ($($f:tt)*) => {
        ::kernel::module_driver!(<T>, $crate::virtio::Adapter<T>, { $($f)* });
    };
}

/// The ID of a virtio device: `struct virtio_device_id`.
#[repr(transparent)]
pub(crate) struct DeviceId(bindings::virtio_device_id);

/// Matches any vendor.
const VIRTIO_DEV_ANY_ID: u32 = u32::MAX;

impl DeviceId {
    /// Devices of type `device`, of any vendor.
    pub(crate) const fn new(device: u32) -> Self {
        Self(bindings::virtio_device_id {
            device,
            vendor: VIRTIO_DEV_ANY_ID,
        })
    }
}

/// A table of the devices that a driver serves, from which it is made without the driver knowing
/// its end.
///
/// Not `kernel::device_id::IdArray`, which is not the same in 7.2 and 7.3; for the same reason the
/// alias that loads the module is in C (`helpers/module.c`).
#[repr(C)]
pub(crate) struct IdArray<const N: usize> {
    ids: [DeviceId; N],
    end: DeviceId,
}

impl<const N: usize> IdArray<N> {
    /// A table of these devices.
    pub(crate) const fn new(ids: [DeviceId; N]) -> Self {
        let end = DeviceId(bindings::virtio_device_id {
            device: 0,
            vendor: 0,
        });
        Self { ids, end }
    }
}

/// A table of any length.
///
/// # Safety
///
/// What [`as_ptr`](Self::as_ptr) returns is the start of an array that ends with an element of
/// zeroes.
pub(crate) unsafe trait IdTable: Sync {
    /// The first element.
    fn as_ptr(&self) -> *const bindings::virtio_device_id;
}

// SAFETY: The last field is that element.
unsafe impl<const N: usize> IdTable for IdArray<N> {
    fn as_ptr(&self) -> *const bindings::virtio_device_id {
        core::ptr::from_ref(self).cast()
    }
}

/// A virtio driver.
pub(crate) trait Driver: 'static {
    /// The driver's private data of a device.
    type Data: Send + 'static;

    /// What has the queues and serves interrupts.
    type Handler: Handler;

    /// The devices that it serves.
    const ID_TABLE: &'static dyn IdTable;

    /// Numbers of the feature bits of the device type that it takes where they are offered.
    const FEATURES: &'static [u32];

    /// Called when a device of type `id` appears.
    ///
    /// # Errors
    ///
    /// Whatever it likes; `ENODEV` says silently that the device is none of its own.
    fn probe(dev: &Device<device::Core<'_>>, id: u32) -> Result<impl PinInit<Self::Data, Error>>;

    /// Called when the device goes away or the driver does. When this returns nobody new may use
    /// the queues.
    fn unbind(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>);

    /// Called when the system is to be suspended, in which the device's state is lost: when this
    /// has returned the device is reset, and what it still has is dropped.
    ///
    /// # Errors
    ///
    /// Whatever it likes; the system is not suspended then.
    fn freeze(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>) -> Result;

    /// Called when the system has been resumed: the device is as in [`probe`](Self::probe), and has
    /// its queues again. It is for the driver to declare it [ready](Device::ready).
    ///
    /// # Errors
    ///
    /// Whatever it likes; the device is of no use then.
    fn restore(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>) -> Result;

    /// Called when the system goes down or reboots, before the device is reset.
    fn shutdown(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>);
}

/// What has the queues of a device and serves its interrupts.
///
/// The methods without "may sleep" are called in interrupts.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Names of the queues, in the order of their indices.
    const QUEUES: &'static [&'static CStr];

    /// The queue with that index.
    fn queue(&self, index: usize) -> Option<&dyn Attach>;

    /// The device has put something into that queue.
    fn notified(&self, index: usize);

    /// The device's configuration or status has changed.
    fn config_changed(&self, dev: &Device<device::Bound>);
}

/// A device on the virtio bus.
///
/// # Invariants
///
/// Represents a valid `struct virtio_device`.
#[repr(transparent)]
pub(crate) struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<bindings::virtio_device>,
    PhantomData<Ctx>,
);

/// A shared memory region of a device, in guest-physical addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShmRegion {
    /// Where it starts.
    pub(crate) addr: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// `VIRTIO_F_VERSION_1`: the device follows the standard, from its version 1.0 on.
pub(crate) const F_VERSION_1: u32 = 32;

/// `VIRTIO_F_ACCESS_PLATFORM`: the device cannot reach memory by guest-physical addresses; an IOMMU
/// or encryption is between.
pub(crate) const F_ACCESS_PLATFORM: u32 = 33;

/// `VIRTIO_CONFIG_S_NEEDS_RESET`: the device has come to an error that it cannot recover from.
pub(crate) const STATUS_NEEDS_RESET: u8 = 0x40;

impl<Ctx: device::DeviceContext> Device<Ctx> {
    fn as_raw(&self) -> *mut bindings::virtio_device {
        self.0.get()
    }

    /// The device that does DMA for it: the one that it is behind, such as a PCI function.
    pub(crate) fn dma_device(&self) -> ARef<device::Device> {
        // SAFETY: By the type invariant; a device on a bus keeps its parent.
        unsafe {
            let dev = &raw mut (*self.as_raw()).dev;
            let parent = (*dev).parent;
            device::Device::get_device(if parent.is_null() { dev } else { parent })
        }
    }

    /// The device takes memory in runs of any length.
    pub(crate) fn take_any_segment(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::virtio_helper_any_segment(self.as_raw()) };
    }

    /// The device type.
    pub(crate) fn id(&self) -> u32 {
        // SAFETY: By the type invariant; the ID never changes.
        unsafe { (*self.as_raw()).id.device }
    }

    /// Whether that feature was negotiated.
    pub(crate) fn has_feature(&self, bit: u32) -> bool {
        // SAFETY: By the type invariant; the features do not change while the device is bound.
        unsafe { bindings::virtio_helper_has_feature(self.as_raw(), bit) }
    }
}

impl Device<device::Bound> {
    /// The device's status bits. May be called in interrupts.
    pub(crate) fn status(&self) -> u8 {
        // SAFETY: By the type invariant; the device is bound, so its transport is there.
        unsafe { bindings::virtio_helper_status(self.as_raw()) }
    }

    /// Reads a structure at the start of the configuration space. May sleep.
    pub(crate) fn config<T: zerocopy::FromBytes + zerocopy::IntoBytes>(&self) -> T {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        // SAFETY: By the type invariant; `bytes` is writable for its length.
        unsafe {
            bindings::virtio_helper_config_read(
                self.as_raw(),
                0,
                bytes.as_mut_ptr().cast(),
                bytes.len() as u32,
            )
        };
        value
    }

    /// The shared memory region with that ID.
    pub(crate) fn shm_region(&self, id: u8) -> Option<ShmRegion> {
        let mut region = bindings::virtio_shm_region::default();
        // SAFETY: By the type invariant; `region` is writable.
        let found =
            unsafe { bindings::virtio_helper_get_shm_region(self.as_raw(), &mut region, id) };
        found.then_some(ShmRegion {
            addr: region.addr,
            len: region.len,
        })
    }
}

impl Device<device::Core<'_>> {
    /// Finds the queues of the device and gives them to `handler`, which serves its interrupts from
    /// then on.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: done before.
    /// - `ENOENT` and others: the device has not that many queues.
    pub(crate) fn find_queues<H: Handler>(&self, handler: Arc<H>) -> Result {
        let raw = self.as_raw();
        // SAFETY: Only this function and `tear_down`, which is not running, write to `priv_`.
        if !unsafe { (*raw).priv_ }.is_null() {
            return Err(EBUSY);
        }
        let handler = Arc::into_raw(handler);
        // SAFETY: The device is valid and bound. The queues' callbacks find the handler from the
        // first moment on; it lives until `tear_down`, or until finding failed and there are no
        // queues.
        unsafe { (*raw).priv_ = handler.cast_mut().cast() };
        // SAFETY: It lives until `tear_down`, which does not run at the same time.
        self.attach_queues(unsafe { &*handler }).inspect_err(|_| {
            // SAFETY: There are no queues, so nobody looks at the handler.
            drop(unsafe {
                (*raw).priv_ = ptr::null_mut();
                Arc::from_raw(handler)
            });
        })
    }

    /// Finds the queues for the handler that the device has.
    fn attach_queues<H: Handler>(&self, handler: &H) -> Result {
        let count = H::QUEUES.len();
        let mut infos = KVec::with_capacity(count, GFP_KERNEL)?;
        for name in H::QUEUES {
            infos.push(
                bindings::virtqueue_info {
                    name: name.as_char_ptr(),
                    callback: Some(notified_callback::<H>),
                    ctx: false,
                },
                GFP_KERNEL,
            )?;
        }
        let mut virtqueues = KVec::from_elem(ptr::null_mut(), count, GFP_KERNEL)?;
        // SAFETY: The device is valid and bound, and has no queues. Both arrays have `count`
        // elements.
        to_result(unsafe {
            bindings::virtio_helper_find_vqs(
                self.as_raw(),
                count as u32,
                virtqueues.as_mut_ptr(),
                infos.as_mut_ptr(),
            )
        })?;
        for (index, ring) in virtqueues.iter().enumerate() {
            if let (Some(queue), Some(ring)) = (handler.queue(index), NonNull::new(*ring)) {
                // SAFETY: The queue is fresh, and lives until `take_queues` has detached it.
                unsafe { queue.attach(ring) };
            }
        }
        Ok(())
    }

    /// Lets the device use its queues: sets `DRIVER_OK`.
    pub(crate) fn ready(&self) {
        // SAFETY: The device is valid and bound, and probe has not returned.
        unsafe { bindings::virtio_helper_device_ready(self.as_raw()) };
    }
}

/// Whether a complaint about a device may be logged now: not more than a few at a time.
pub(crate) fn may_log() -> bool {
    // SAFETY: May always be called.
    unsafe { bindings::virtio_helper_ratelimit() }
}

/// The queues' callback.
///
/// # Safety
///
/// `queue` is one of the queues of a device whose handler is an `H`.
unsafe extern "C" fn notified_callback<H: Handler>(queue: *mut bindings::virtqueue) {
    // SAFETY: The queue is valid, and so is its device; callbacks end with the reset in
    // `tear_down`.
    let (handler, index) = unsafe { (handler::<H>((*queue).vdev), (*queue).index) };
    if let Some(handler) = handler {
        handler.notified(index as usize);
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant the embedded `struct device` is valid as long as `self`; it
        // is in the same state of the driver core.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }
}

// SAFETY: `Device` is a transparent wrapper of a type that does not depend on its generic argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: A `struct virtio_device` is counted by its `struct device`.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: There is a reference, so the count is not zero.
        unsafe { bindings::get_device(&raw mut (*self.as_raw()).dev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives away a reference that it has.
        unsafe { bindings::put_device(&raw mut (*(*obj.as_ptr()).as_raw()).dev) };
    }
}

// SAFETY: A `struct virtio_device` can be released from any thread.
unsafe impl Send for Device {}
// SAFETY: All methods of `Device<Normal>` are safe to call from several threads at once.
unsafe impl Sync for Device {}
