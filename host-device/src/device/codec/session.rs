// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The ioctls of one open file: which queue they mean, and when they are refused with `EBUSY`.

use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{
    Control, CreateBuffers, EncoderCmd, EventSubscription, ExportBuffer, FmtDesc, Format, Fract,
    FrmIvalEnum, FrmSizeEnum, QueryCtrl, QueryExtCtrl, QueryMenu, RemoveBuffers, RequestBuffers,
    Selection, StreamParm,
};

use super::backend::Setup;
use super::core::{Core, Private, Queue};
use super::drain::Command;
use super::format::{CodedFormat, Formats};
use super::imports::Imports;
use super::offer::Offer;
use super::shared::Shared;
use super::worker::Worker;
use crate::device::api::{self, BufferArgs, ControlArgs, ControlOp, Result, WireMemory};
use crate::device::sessions::OpenSession;
use crate::events::Events;
use crate::memory::{Fence, HostBuffer, MemoryCharge, PlaneMemory, Vm};
use crate::v4l2::core::format::{self, RawFormat};
use crate::v4l2::core::uapi::*;
use crate::v4l2::core::{interval, selection};

/// One open file.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    vm: Vm,
    imports: Imports,
    offer: Arc<Offer>,
    /// Runs while both queues stream.
    worker: Option<Worker>,
    span: tracing::Span,
    _open: OpenSession,
}

impl Session {
    /// A session with everything at its defaults, whose log lines are in `span`.
    ///
    /// # Errors
    ///
    /// `ENODEV` without a coded format.
    pub fn new(
        offer: Arc<Offer>,
        (events, vm): (Events, Vm),
        (span, open): (tracing::Span, OpenSession),
    ) -> Result<Self> {
        let (coded, raw) = (offer.coded.clone(), offer.raw.clone());
        let core = Core::new(offer.controls.clone(), coded, raw, &vm)?;
        Ok(Self {
            shared: Shared::new(core, events),
            imports: Imports::new(&vm),
            vm,
            offer,
            worker: None,
            span,
            _open: open,
        })
    }

    fn start(&mut self) -> Result {
        let setup = {
            let core = self.shared.lock();
            if !core.streaming() {
                return Ok(());
            }
            core.setup()
        };
        let _entered = self.span.clone().entered();
        let memory = self.charge(&setup)?;
        self.worker = Some(Worker::start(&self.shared, &self.offer, &setup, memory)?);
        Ok(())
    }

    /// What the codec will take, before it does.
    fn charge(&self, setup: &Setup) -> Result<MemoryCharge> {
        let bytes = self.offer.backend.memory(setup);
        if bytes == 0 {
            return Ok(MemoryCharge::default());
        }
        self.vm.ledger().charge(bytes).inspect_err(|_| {
            tracing::debug!(
                "too little memory for a codec of {}x{}, about {} MiB: raise --max-memory, \
                 or close sessions",
                setup.crop.width,
                setup.crop.height,
                bytes >> 20
            );
        })
    }

    /// Imports the memory of a buffer: finds and maps it, without the state's lock, as that may
    /// take long.
    fn import(&self, args: &mut BufferArgs<'_>) -> Result<Vec<PlaneMemory>> {
        let (lengths, count) = {
            let mut core = self.shared.lock();
            let (queue, sizes) = queue(&mut core, args.buffer.type_)?;
            (queue.imports(args, &sizes)?, queue.count())
        };
        let wire = std::mem::replace(&mut args.memory, WireMemory::Nothing);
        self.imports.get(
            (args.buffer.type_, count),
            args.buffer.index,
            wire,
            &lengths,
        )
    }

    fn prepare(&self, mut args: BufferArgs<'_>) -> Result {
        let imported = self.import(&mut args)?;
        let mut core = self.shared.lock();
        let (queue, sizes) = queue(&mut core, args.buffer.type_)?;
        queue.prepare_buf(args, imported, &sizes)
    }

    fn enqueue(&self, mut args: BufferArgs<'_>) -> Result {
        let imported = self.import(&mut args)?;
        let fence = self.fence(&args, &imported)?;
        let mut core = self.shared.lock();
        let output = args.buffer.type_ == OUTPUT;
        let private = Private {
            pressed: if output {
                core.pressed.clone()
            } else {
                Vec::new()
            },
            kicked: Some(self.shared.events.counters().looked()),
        };
        let (queue, sizes) = queue(&mut core, args.buffer.type_)?;
        queue.qbuf(args, (imported, fence), &sizes, private)?;
        if output {
            core.pressed.clear();
            core.drain.goes_on();
        }
        Ok(())
    }

    /// What must happen before memory is used that is imported now, or was when the buffer was
    /// prepared.
    fn fence(&self, args: &BufferArgs<'_>, imported: &[PlaneMemory]) -> Result<Option<Fence>> {
        let buffer = &*args.buffer;
        if buffer.memory == MEMORY_MMAP {
            return Ok(None);
        }
        let access = self.imports.of(buffer.type_).access();
        let shared = Arc::downgrade(&self.shared);
        let then = move || {
            if let Some(shared) = shared.upgrade() {
                shared.wake();
            }
        };
        if imported.is_empty() {
            let prepared = queue(&mut self.shared.lock(), buffer.type_)?
                .0
                .prepared(buffer.index);
            self.vm.fence(&prepared, access, then)
        } else {
            self.vm.fence(imported, access, then)
        }
    }

    /// After a call gave the codec something to do.
    fn go_on(&self) {
        if self.worker.is_some() {
            self.shared.wake();
        } else {
            self.shared.pump();
        }
    }
}

/// The queue of type `buf_type`, and the bytes that a buffer of it takes in each plane.
fn queue(core: &mut Core, buf_type: u32) -> Result<(&mut Queue, Vec<u32>)> {
    match buf_type {
        OUTPUT => Ok((&mut core.output, core.formats.raw.sizes())),
        CAPTURE => Ok((&mut core.capture, vec![core.formats.coded.sizeimage])),
        _ => Err(Errno::EINVAL),
    }
}

/// The format of a queue that is nearest to `format`, and what is to be stored of it.
enum Nearest {
    Raw(RawFormat),
    Coded(CodedFormat),
}

fn nearest(formats: &Formats, format: &mut Format) -> Result<Nearest> {
    let pix = format.pix_mp();
    let (nearest, pix) = match format.type_ {
        OUTPUT => {
            let raw = formats.raw.nearest(&pix, &formats.offered);
            let pix = raw.pix();
            (Nearest::Raw(raw), pix)
        }
        CAPTURE => {
            let coded = formats.try_coded(&pix);
            (Nearest::Coded(coded), formats.coded_pix(&coded))
        }
        _ => return Err(Errno::EINVAL),
    };
    format.set_pix_mp(&pix);
    Ok(nearest)
}

impl api::Session for Session {
    fn enum_fmt(&mut self, desc: &mut FmtDesc) -> Result {
        let core = self.shared.lock();
        let at = desc.index as usize;
        let (pixelformat, description, flags) = match desc.type_ {
            OUTPUT => core
                .formats
                .offered
                .get(at)
                .map(|format| (format.fourcc, format.description, 0)),
            CAPTURE => core
                .formats
                .kinds
                .get(at)
                .map(|kind| (kind.fourcc, kind.description, V4L2_FMT_FLAG_COMPRESSED)),
            _ => None,
        }
        .ok_or(Errno::EINVAL)?;
        *desc = FmtDesc {
            index: desc.index,
            type_: desc.type_,
            flags,
            description: text(description),
            pixelformat,
            ..Default::default()
        };
        Ok(())
    }

    fn g_fmt(&mut self, format: &mut Format) -> Result {
        let core = self.shared.lock();
        let formats = &core.formats;
        let pix = match format.type_ {
            OUTPUT => formats.raw.pix(),
            CAPTURE => formats.coded_pix(&formats.coded),
            _ => return Err(Errno::EINVAL),
        };
        format.set_pix_mp(&pix);
        Ok(())
    }

    fn try_fmt(&mut self, format: &mut Format) -> Result {
        nearest(&self.shared.lock().formats, format).map(|_| ())
    }

    fn s_fmt(&mut self, format: &mut Format) -> Result {
        let mut core = self.shared.lock();
        let asked = format.pix_mp();
        match nearest(&core.formats, format)? {
            Nearest::Raw(raw) => {
                // The same again is no change: clients do that with buffers allocated.
                if core.output.count() > 0 && raw != core.formats.raw {
                    return Err(Errno::EBUSY);
                }
                if core.output.count() == 0 {
                    core.formats.set_raw(raw);
                }
            }
            Nearest::Coded(coded) => {
                let allocated = core.output.count() > 0 || core.capture.count() > 0;
                if allocated && coded != core.formats.coded {
                    return Err(Errno::EBUSY);
                }
                core.formats.set_coded(coded, &asked);
            }
        }
        Ok(())
    }

    fn enum_framesizes(&mut self, size: &mut FrmSizeEnum) -> Result {
        let offered = self.shared.lock().formats.find(size.pixel_format);
        let mut coded = self.offer.coded.iter();
        let known = offered.is_some() || coded.any(|kind| kind.fourcc == size.pixel_format);
        if !known || size.index != 0 {
            return Err(Errno::EINVAL);
        }
        *size = FrmSizeEnum {
            index: 0,
            pixel_format: size.pixel_format,
            type_: FRMSIZE_TYPE_STEPWISE,
            stepwise: [
                format::MIN_SIZE,
                format::MAX_WIDTH,
                format::STEP,
                format::MIN_SIZE,
                format::MAX_HEIGHT,
                format::STEP,
            ],
            reserved: [0; 2],
        };
        Ok(())
    }

    fn enum_frameintervals(&mut self, interval: &mut FrmIvalEnum) -> Result {
        let fits = |value: u32, max: u32| {
            (format::MIN_SIZE..=max).contains(&value) && value.is_multiple_of(format::STEP)
        };
        // Raw formats only: coded frames have no interval of their own.
        let offered = self.shared.lock().formats.find(interval.pixel_format);
        if offered.is_none()
            || interval.index != 0
            || !fits(interval.width, format::MAX_WIDTH)
            || !fits(interval.height, format::MAX_HEIGHT)
        {
            return Err(Errno::EINVAL);
        }
        interval.type_ = FRMIVAL_TYPE_CONTINUOUS;
        interval.stepwise = [
            interval::MIN,
            interval::MAX,
            Fract {
                numerator: 1,
                denominator: 1,
            },
        ];
        interval.reserved = [0; 2];
        Ok(())
    }

    fn g_parm(&mut self, parm: &mut StreamParm) -> Result {
        interval::get(parm, self.shared.lock().formats.interval)
    }

    fn s_parm(&mut self, parm: &mut StreamParm) -> Result {
        let mut core = self.shared.lock();
        let asked = parm.timeperframe;
        let nearest = interval::nearest(asked);
        interval::get(parm, nearest)?;
        core.formats.interval = nearest;
        core.changed = true;
        Ok(())
    }

    fn g_selection(&mut self, selection: &mut Selection) -> Result {
        selection.reserved = [0; 9];
        let core = self.shared.lock();
        selection::get(selection, core.formats.crop, core.formats.raw.rect())
    }

    fn s_selection(&mut self, selection: &mut Selection) -> Result {
        let mut core = self.shared.lock();
        let crop = selection::nearest(selection, core.formats.raw.rect())?;
        // The size of a running stream is fixed; the same again is no change.
        if core.output.streaming && crop != core.formats.crop {
            return Err(Errno::EBUSY);
        }
        core.formats.crop = crop;
        selection.r = crop;
        selection.reserved = [0; 9];
        Ok(())
    }

    fn reqbufs(&mut self, request: &mut RequestBuffers) -> Result {
        let mut core = self.shared.lock();
        let (oversized, lengths) = (core.formats.raw.oversized, core.formats.raw.lengths());
        let (queue, mut sizes) = queue(&mut core, request.type_)?;
        if queue.is_output() && request.memory == MEMORY_MMAP {
            sizes = lengths;
            queue.oversized = oversized;
        }
        let answer = queue.reqbufs(request, &sizes);
        core.drain.goes_on();
        if answer.is_ok() {
            self.shared.events.purge(request.type_);
            drop(core);
            self.imports.of(request.type_).clear();
        }
        answer
    }

    fn create_bufs(&mut self, create: &mut CreateBuffers) -> Result {
        let mut core = self.shared.lock();
        let (queue, sizes) = queue(&mut core, create.format.type_)?;
        queue.create_bufs(create, &sizes)
    }

    fn remove_bufs(&mut self, remove: &mut RemoveBuffers) -> Result {
        queue(&mut self.shared.lock(), remove.type_)?
            .0
            .remove_bufs(remove)?;
        let end = remove.index.saturating_add(remove.count);
        self.imports.of(remove.type_).forget(remove.index..end);
        Ok(())
    }

    fn querybuf(&mut self, args: BufferArgs<'_>) -> Result {
        let mut core = self.shared.lock();
        queue(&mut core, args.buffer.type_)?.0.querybuf(args)
    }

    fn prepare_buf(&mut self, args: BufferArgs<'_>) -> Result {
        let (buf_type, index) = (args.buffer.type_, args.buffer.index);
        let prepared = self.prepare(args);
        self.imports.of(buf_type).queued(index, prepared)
    }

    fn qbuf(&mut self, args: BufferArgs<'_>) -> Result {
        let (buf_type, index) = (args.buffer.type_, args.buffer.index);
        let queued = self.enqueue(args);
        self.imports.of(buf_type).queued(index, queued)?;
        self.go_on();
        Ok(())
    }

    fn is_quick(&mut self, args: &BufferArgs<'_>) -> bool {
        match &args.memory {
            WireMemory::Pages(lists) => {
                let cache = self.imports.of(args.buffer.type_);
                cache.is_quick(args.buffer.index, lists)
            }
            _ => true,
        }
    }

    fn expbuf(&mut self, export: &mut ExportBuffer, uuid: &mut Uuid) -> Result {
        let memory = queue(&mut self.shared.lock(), export.type_)?
            .0
            .export(export)?;
        *uuid = self.vm.export(&memory)?;
        Ok(())
    }

    fn streamon(&mut self, buf_type: u32) -> Result {
        {
            let mut core = self.shared.lock();
            let queue = queue(&mut core, buf_type)?.0;
            if queue.streaming {
                return Ok(());
            }
            queue.streamon()?;
        }
        let started = self.start();
        if started.is_err() {
            let mut core = self.shared.lock();
            queue(&mut core, buf_type)?.0.streaming = false;
        }
        self.go_on();
        started
    }

    fn streamoff(&mut self, buf_type: u32) -> Result {
        if !matches!(buf_type, OUTPUT | CAPTURE) {
            return Err(Errno::EINVAL);
        }
        // From here on the codec returns no buffer of this queue.
        queue(&mut self.shared.lock(), buf_type)?.0.epoch += 1;
        // The next STREAMON starts a new one: headers and an IDR.
        self.worker = None;
        {
            let mut core = self.shared.lock();
            if buf_type == OUTPUT {
                core.output_off();
            } else {
                core.capture_off();
            }
        }
        self.shared.events.purge(buf_type);
        self.shared.pump();
        Ok(())
    }

    fn encoder_cmd(&mut self, cmd: &mut EncoderCmd) -> Result {
        let command = Command::of(cmd)?;
        {
            let mut core = self.shared.lock();
            let (streaming, queued) = (core.streaming(), core.output.queued());
            let capacity = core.capture.queued();
            core.drain.run(command, streaming, (queued, capacity))?;
            core.fed |= queued > 0;
        }
        self.go_on();
        Ok(())
    }

    fn try_encoder_cmd(&mut self, cmd: &mut EncoderCmd) -> Result {
        Command::of(cmd).map(|_| ())
    }

    fn subscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        let mut core = self.shared.lock();
        let Core {
            subscriptions,
            controls,
            ..
        } = &mut *core;
        subscriptions.subscribe(subscription, controls, &self.shared.events)
    }

    fn unsubscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        self.shared.lock().subscriptions.unsubscribe(subscription);
        Ok(())
    }

    fn queryctrl(&mut self, query: &mut QueryCtrl) -> Result {
        self.shared.lock().controls.query(query)
    }

    fn query_ext_ctrl(&mut self, query: &mut QueryExtCtrl) -> Result {
        self.shared.lock().controls.query_ext(query)
    }

    fn querymenu(&mut self, menu: &mut QueryMenu) -> Result {
        self.shared.lock().controls.query_menu(menu)
    }

    fn g_ctrl(&mut self, control: &mut Control) -> Result {
        self.shared.lock().controls.get(control)
    }

    fn s_ctrl(&mut self, control: &mut Control) -> Result {
        let mut core = self.shared.lock();
        let info = core.controls.set(control)?;
        core.control_set(info, &self.shared.events);
        Ok(())
    }

    fn ext_ctrls(&mut self, op: ControlOp, args: ControlArgs<'_>) -> Result {
        let mut core = self.shared.lock();
        for info in core.controls.ext(op, args.header, args.controls)? {
            core.control_set(info, &self.shared.events);
        }
        Ok(())
    }

    fn mmap(&mut self, offset: u32) -> Result<Arc<HostBuffer>> {
        let core = self.shared.lock();
        core.output
            .memory(offset)
            .or_else(|| core.capture.memory(offset))
            .ok_or(Errno::EINVAL)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.worker = None;
        let core = self.shared.lock();
        let interval = core.formats.interval;
        let _entered = self.span.enter();
        core.stats
            .log(f64::from(interval.numerator) / f64::from(interval.denominator.max(1)));
    }
}
