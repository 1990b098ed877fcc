// SPDX-License-Identifier: GPL-2.0

//! The table of ioctls, and what they carry.

use super::node::{Driver, Handle, OpenFile, Request};
use crate::bindings;
use core::marker::PhantomData;
use kernel::error::from_result;
use kernel::prelude::*;

/// Arguments of ioctls.
///
/// # Safety
///
/// Any bytes are a valid value; `array` gives memory that the core has allocated for the duration
/// of the ioctl, apart from the argument itself, and has initialised.
unsafe trait Argument: Sized {
    /// Start and length of the memory that a pointer in the argument refers to.
    ///
    /// # Safety
    ///
    /// The argument comes from the core and has not been written to since.
    unsafe fn array(&self) -> (*mut u8, usize) {
        (core::ptr::null_mut(), 0)
    }
}

const fn is_multiplanar(kind: u32) -> bool {
    kind == bindings::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
        || kind == bindings::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE
}

// SAFETY: The core replaces `m.planes` by a copy of `length` planes if the type is multi-planar.
unsafe impl Argument for bindings::v4l2_buffer {
    unsafe fn array(&self) -> (*mut u8, usize) {
        if is_multiplanar(self.type_) {
            // SAFETY: `planes` is the member in use.
            let planes = unsafe { *self.m.planes.as_ref() };
            (
                planes.cast(),
                self.length as usize * size_of::<bindings::v4l2_plane>(),
            )
        } else {
            (core::ptr::null_mut(), 0)
        }
    }
}

// SAFETY: The core replaces `controls` by a copy of `count` controls.
unsafe impl Argument for bindings::v4l2_ext_controls {
    unsafe fn array(&self) -> (*mut u8, usize) {
        (
            self.controls.cast(),
            self.count as usize * size_of::<bindings::v4l2_ext_control>(),
        )
    }
}

// SAFETY: The core replaces `edid` by a copy of `blocks` blocks.
unsafe impl Argument for bindings::v4l2_edid {
    unsafe fn array(&self) -> (*mut u8, usize) {
        const BLOCK: usize = 128;
        (self.edid.cast(), self.blocks as usize * BLOCK)
    }
}

macro_rules! plain {
    ($($name:ident,)*) => {
        // SAFETY: These structures, made for user space, consist of integers, and have no pointers
        // that the core replaces.
        $(unsafe impl Argument for bindings::$name {})*
    };
}

plain! {
    v4l2_audio, v4l2_audioout, v4l2_capability, v4l2_create_buffers, v4l2_cropcap, v4l2_decoder_cmd,
    v4l2_dv_timings, v4l2_dv_timings_cap, v4l2_enc_idx, v4l2_encoder_cmd, v4l2_enum_dv_timings,
    v4l2_exportbuffer, v4l2_event_subscription, v4l2_fmtdesc, v4l2_format, v4l2_framebuffer,
    v4l2_frequency, v4l2_frequency_band, v4l2_frmivalenum, v4l2_frmsizeenum, v4l2_input,
    v4l2_modulator, v4l2_output, v4l2_query_ext_ctrl, v4l2_querymenu, v4l2_remove_buffers,
    v4l2_requestbuffers, v4l2_selection, v4l2_sliced_vbi_cap, v4l2_tuner,
}

// SAFETY: Integers.
unsafe impl Argument for u32 {}
// SAFETY: Integers.
unsafe impl Argument for u64 {}

/// Passes an ioctl on.
///
/// # Safety
///
/// `argument` is valid, comes from the core, and nobody else uses it.
unsafe fn dispatch<T: Driver, A: Argument>(
    handle: &Handle<T>,
    number: u32,
    argument: *mut A,
    nonblocking: bool,
) -> Result {
    // SAFETY: As the caller guarantees.
    let (array, len) = unsafe { (*argument).array() };
    let array = if array.is_null() || len == 0 {
        &mut [][..]
    } else {
        // SAFETY: By the safety requirements of `Argument` and of this function.
        unsafe { core::slice::from_raw_parts_mut(array, len) }
    };
    // SAFETY: Any bytes are a valid `A`; the core has copied all of it from the user or set it to
    // zero.
    let payload = unsafe { core::slice::from_raw_parts_mut(argument.cast::<u8>(), size_of::<A>()) };
    T::ioctl(
        handle,
        Request {
            number,
            payload,
            array,
            nonblocking,
        },
    )
}

/// The callbacks of nodes with driver `T`.
pub(super) struct IoctlTable<T: Driver>(PhantomData<T>);

impl<T: Driver> IoctlTable<T> {
    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn call<A: Argument, const NUMBER: u32>(
        file: *mut bindings::file,
        _private: *mut c_void,
        argument: *mut A,
    ) -> c_int {
        // SAFETY: The core calls with an open file of the node, and an argument of its own.
        unsafe {
            let handle = Handle::<T>::from_file(file);
            let nonblocking = OpenFile::new(file).nonblocking();
            from_result(|| dispatch(handle, NUMBER, argument, nonblocking).map(|()| 0))
        }
    }

    /// As [`Self::call`], for arguments that are only read.
    ///
    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn call_const<A: Argument, const NUMBER: u32>(
        file: *mut bindings::file,
        private: *mut c_void,
        argument: *const A,
    ) -> c_int {
        // SAFETY: As in `call`; the copy is ours.
        unsafe {
            let mut copy = argument.read();
            Self::call::<A, NUMBER>(file, private, &mut copy)
        }
    }

    /// As [`Self::call`], for arguments that are passed by value.
    ///
    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn call_value<A: Argument, const NUMBER: u32>(
        file: *mut bindings::file,
        private: *mut c_void,
        argument: A,
    ) -> c_int {
        let mut copy = argument;
        // SAFETY: As in `call`; the copy is ours.
        unsafe { Self::call::<A, NUMBER>(file, private, &mut copy) }
    }

    /// As [`Self::call_const`], for the ioctls that have no file.
    ///
    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn call_fh<const NUMBER: u32>(
        fh: *mut bindings::v4l2_fh,
        argument: *const bindings::v4l2_event_subscription,
    ) -> c_int {
        // SAFETY: The core calls with the handle of an open file and an argument of its own; the
        // copy is ours.
        unsafe {
            let mut copy = argument.read();
            let handle = Handle::<T>::from_fh(fh);
            from_result(|| dispatch(handle, NUMBER, &raw mut copy, false).map(|()| 0))
        }
    }

    /// QUERYCAP; where the device is on its bus is filled in here.
    ///
    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn querycap(
        file: *mut bindings::file,
        private: *mut c_void,
        capability: *mut bindings::v4l2_capability,
    ) -> c_int {
        // SAFETY: As in `call`.
        let ret = unsafe { Self::call::<_, { number::QUERYCAP }>(file, private, capability) };
        if ret == 0 {
            // SAFETY: The core passes an open file of the node, and a valid pointer.
            unsafe { bindings::v4l2_helper_bus_info(file, capability) };
        }
        ret
    }

    /// LOG_STATUS.
    ///
    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn log_status(file: *mut bindings::file, _private: *mut c_void) -> c_int {
        // SAFETY: The core calls with an open file of the node.
        T::log_status(unsafe { Handle::<T>::from_file(file) });
        0
    }

    /// CROPCAP, of which the core wants only this from the driver.
    ///
    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn pixel_aspect(
        file: *mut bindings::file,
        private: *mut c_void,
        kind: c_int,
        aspect: *mut bindings::v4l2_fract,
    ) -> c_int {
        let mut cropcap = bindings::v4l2_cropcap {
            type_: kind as u32,
            ..pin_init::zeroed()
        };
        // SAFETY: As in `call`; the structure is ours.
        let ret = unsafe { Self::call::<_, { number::CROPCAP }>(file, private, &raw mut cropcap) };
        if ret == 0 {
            // SAFETY: The core passes a valid pointer.
            unsafe { *aspect = cropcap.pixelaspect };
        }
        ret
    }
}

macro_rules! table {
    (
        call { $($field:ident = $number:ident,)* }
        call_const { $($field_const:ident = $number_const:ident,)* }
        call_value { $($field_value:ident = $number_value:ident,)* }
        call_fh { $($field_fh:ident = $number_fh:ident,)* }
    ) => {
        impl<T: Driver> IoctlTable<T> {
            /// The table. What is not in it does not exist, is in `DIRECT` in file.rs, or the core
            /// does by itself.
            pub(super) const OPS: &bindings::v4l2_helper_ioctl_ops =
                &bindings::v4l2_helper_ioctl_ops {
                ops: bindings::v4l2_ioctl_ops {
                    $($field: Some(Self::call::<_, { number::$number }>),)*
                    $($field_const: Some(Self::call_const::<_, { number::$number_const }>),)*
                    $($field_value: Some(Self::call_value::<_, { number::$number_value }>),)*
                    $($field_fh: Some(Self::call_fh::<{ number::$number_fh }>),)*
                    vidioc_querycap: Some(Self::querycap),
                    vidioc_log_status: Some(Self::log_status),
                    vidioc_g_pixelaspect: Some(Self::pixel_aspect),
                    vidioc_streamon: Some(bindings::v4l2_helper_streamon),
                    vidioc_streamoff: Some(bindings::v4l2_helper_streamoff),
                    ..pin_init::zeroed()
                },
                streamon: Some(Self::call_value::<_, { number::STREAMON }>),
                streamoff: Some(Self::call_value::<_, { number::STREAMOFF }>),
            };
        }
    };
}

table! {
    call {
        vidioc_enum_fmt_vid_cap = ENUM_FMT, vidioc_enum_fmt_vid_overlay = ENUM_FMT,
        vidioc_enum_fmt_vid_out = ENUM_FMT, vidioc_enum_fmt_sdr_cap = ENUM_FMT,
        vidioc_enum_fmt_sdr_out = ENUM_FMT, vidioc_enum_fmt_meta_cap = ENUM_FMT,
        vidioc_enum_fmt_meta_out = ENUM_FMT, vidioc_g_fmt_vid_cap = G_FMT,
        vidioc_g_fmt_vid_overlay = G_FMT, vidioc_g_fmt_vid_out = G_FMT,
        vidioc_g_fmt_vid_out_overlay = G_FMT, vidioc_g_fmt_vbi_cap = G_FMT,
        vidioc_g_fmt_vbi_out = G_FMT, vidioc_g_fmt_sliced_vbi_cap = G_FMT,
        vidioc_g_fmt_sliced_vbi_out = G_FMT, vidioc_g_fmt_vid_cap_mplane = G_FMT,
        vidioc_g_fmt_vid_out_mplane = G_FMT, vidioc_g_fmt_sdr_cap = G_FMT,
        vidioc_g_fmt_sdr_out = G_FMT, vidioc_g_fmt_meta_cap = G_FMT, vidioc_g_fmt_meta_out = G_FMT,
        vidioc_s_fmt_vid_cap = S_FMT, vidioc_s_fmt_vid_overlay = S_FMT,
        vidioc_s_fmt_vid_out = S_FMT, vidioc_s_fmt_vid_out_overlay = S_FMT,
        vidioc_s_fmt_vbi_cap = S_FMT, vidioc_s_fmt_vbi_out = S_FMT,
        vidioc_s_fmt_sliced_vbi_cap = S_FMT, vidioc_s_fmt_sliced_vbi_out = S_FMT,
        vidioc_s_fmt_vid_cap_mplane = S_FMT, vidioc_s_fmt_vid_out_mplane = S_FMT,
        vidioc_s_fmt_sdr_cap = S_FMT, vidioc_s_fmt_sdr_out = S_FMT, vidioc_s_fmt_meta_cap = S_FMT,
        vidioc_s_fmt_meta_out = S_FMT, vidioc_try_fmt_vid_cap = TRY_FMT,
        vidioc_try_fmt_vid_overlay = TRY_FMT, vidioc_try_fmt_vid_out = TRY_FMT,
        vidioc_try_fmt_vid_out_overlay = TRY_FMT, vidioc_try_fmt_vbi_cap = TRY_FMT,
        vidioc_try_fmt_vbi_out = TRY_FMT, vidioc_try_fmt_sliced_vbi_cap = TRY_FMT,
        vidioc_try_fmt_sliced_vbi_out = TRY_FMT, vidioc_try_fmt_vid_cap_mplane = TRY_FMT,
        vidioc_try_fmt_vid_out_mplane = TRY_FMT, vidioc_try_fmt_sdr_cap = TRY_FMT,
        vidioc_try_fmt_sdr_out = TRY_FMT, vidioc_try_fmt_meta_cap = TRY_FMT,
        vidioc_try_fmt_meta_out = TRY_FMT, vidioc_reqbufs = REQBUFS, vidioc_querybuf = QUERYBUF,
        vidioc_qbuf = QBUF, vidioc_dqbuf = DQBUF, vidioc_create_bufs = CREATE_BUFS,
        vidioc_prepare_buf = PREPARE_BUF, vidioc_remove_bufs = REMOVE_BUFS, vidioc_expbuf = EXPBUF,
        vidioc_g_fbuf = G_FBUF, vidioc_g_std = G_STD, vidioc_querystd = QUERYSTD,
        vidioc_enum_input = ENUMINPUT, vidioc_g_input = G_INPUT, vidioc_enum_output = ENUMOUTPUT,
        vidioc_g_output = G_OUTPUT, vidioc_query_ext_ctrl = QUERY_EXT_CTRL,
        vidioc_querymenu = QUERYMENU, vidioc_g_ext_ctrls = G_EXT_CTRLS,
        vidioc_s_ext_ctrls = S_EXT_CTRLS, vidioc_try_ext_ctrls = TRY_EXT_CTRLS,
        vidioc_enumaudio = ENUMAUDIO, vidioc_g_audio = G_AUDIO, vidioc_enumaudout = ENUMAUDOUT,
        vidioc_g_audout = G_AUDOUT, vidioc_g_modulator = G_MODULATOR, vidioc_g_tuner = G_TUNER,
        vidioc_g_frequency = G_FREQUENCY, vidioc_enum_freq_bands = ENUM_FREQ_BANDS,
        vidioc_g_selection = G_SELECTION, vidioc_s_selection = S_SELECTION,
        vidioc_g_enc_index = G_ENC_INDEX, vidioc_encoder_cmd = ENCODER_CMD,
        vidioc_try_encoder_cmd = TRY_ENCODER_CMD, vidioc_decoder_cmd = DECODER_CMD,
        vidioc_try_decoder_cmd = TRY_DECODER_CMD, vidioc_g_sliced_vbi_cap = G_SLICED_VBI_CAP,
        vidioc_enum_framesizes = ENUM_FRAMESIZES, vidioc_enum_frameintervals = ENUM_FRAMEINTERVALS,
        vidioc_s_dv_timings = S_DV_TIMINGS, vidioc_g_dv_timings = G_DV_TIMINGS,
        vidioc_query_dv_timings = QUERY_DV_TIMINGS, vidioc_enum_dv_timings = ENUM_DV_TIMINGS,
        vidioc_dv_timings_cap = DV_TIMINGS_CAP, vidioc_g_edid = G_EDID, vidioc_s_edid = S_EDID,
    }
    call_const {
        vidioc_s_fbuf = S_FBUF, vidioc_s_audio = S_AUDIO, vidioc_s_audout = S_AUDOUT,
        vidioc_s_modulator = S_MODULATOR, vidioc_s_tuner = S_TUNER,
        vidioc_s_frequency = S_FREQUENCY,
    }
    call_value {
        vidioc_overlay = OVERLAY, vidioc_s_std = S_STD, vidioc_s_input = S_INPUT,
        vidioc_s_output = S_OUTPUT,
    }
    call_fh {
        vidioc_subscribe_event = SUBSCRIBE_EVENT, vidioc_unsubscribe_event = UNSUBSCRIBE_EVENT,
    }
}

macro_rules! numbers {
    ($($name:ident = $number:literal,)*) => {
        /// Numbers of the ioctls in the table.
        pub(crate) mod number {
            $(pub(crate) const $name: u32 = $number;)*
        }

        /// The same, to be compared with other tables when this is compiled.
        #[allow(dead_code)] // A `const _` does not count as use.
        pub(crate) const NUMBERS: &[(&str, u32)] = &[$((stringify!($name), $number),)*];
    };
}

numbers! {
    QUERYCAP = 0, ENUM_FMT = 2, G_FMT = 4, S_FMT = 5, REQBUFS = 8, QUERYBUF = 9, G_FBUF = 10,
    S_FBUF = 11, OVERLAY = 14, QBUF = 15, EXPBUF = 16, DQBUF = 17, STREAMON = 18, STREAMOFF = 19,
    G_PARM = 21, S_PARM = 22, G_STD = 23, S_STD = 24, ENUMSTD = 25, ENUMINPUT = 26, G_CTRL = 27,
    S_CTRL = 28, G_TUNER = 29, S_TUNER = 30, G_AUDIO = 33, S_AUDIO = 34, QUERYMENU = 37,
    G_INPUT = 38, S_INPUT = 39, G_EDID = 40, S_EDID = 41, G_OUTPUT = 46, S_OUTPUT = 47,
    ENUMOUTPUT = 48, G_AUDOUT = 49, S_AUDOUT = 50, G_MODULATOR = 54, S_MODULATOR = 55,
    G_FREQUENCY = 56, S_FREQUENCY = 57, CROPCAP = 58, QUERYSTD = 63, TRY_FMT = 64, ENUMAUDIO = 65,
    ENUMAUDOUT = 66, G_SLICED_VBI_CAP = 69, G_EXT_CTRLS = 71, S_EXT_CTRLS = 72, TRY_EXT_CTRLS = 73,
    ENUM_FRAMESIZES = 74, ENUM_FRAMEINTERVALS = 75, G_ENC_INDEX = 76, ENCODER_CMD = 77,
    TRY_ENCODER_CMD = 78, S_HW_FREQ_SEEK = 82, S_DV_TIMINGS = 87, G_DV_TIMINGS = 88,
    SUBSCRIBE_EVENT = 90, UNSUBSCRIBE_EVENT = 91, CREATE_BUFS = 92, PREPARE_BUF = 93,
    G_SELECTION = 94, S_SELECTION = 95, DECODER_CMD = 96, TRY_DECODER_CMD = 97,
    ENUM_DV_TIMINGS = 98, QUERY_DV_TIMINGS = 99, DV_TIMINGS_CAP = 100, ENUM_FREQ_BANDS = 101,
    QUERY_EXT_CTRL = 103, REMOVE_BUFS = 104,
}
