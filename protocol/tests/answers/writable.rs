// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a device may write, by the names in `videodev2.h`.

use std::mem::offset_of;
use std::ops::Range;

use protocol::wire::ioctl::{self, Ioctl};
use protocol::wire::v4l2::{Buffer, VIDEO_MAX_PLANES};
use virtio_media::v4l2r::bindings as c;

use super::word;

/// Size of what `field` gives a pointer to.
fn size_of_field<T, F>(_: fn(*const T) -> *const F) -> usize {
    size_of::<F>()
}

/// Where fields of a C structure stand.
macro_rules! spans {
    ($c:ident { $($($path:ident).+),* $(,)? }) => {
        vec![$({
            let start = offset_of!(c::$c, $($path).+);
            // SAFETY: Never called.
            let size = size_of_field(|it: *const c::$c| unsafe { &raw const (*it).$($path).+ });
            start..start + size
        }),*]
    };
}

fn bytes(span: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(span).collect()
}

/// What an ioctl's answer may change of its payload, by the names in `videodev2.h`.
fn writable(code: u32) -> Vec<Range<usize>> {
    match code {
        ioctl::ENUM_FMT => spans!(v4l2_fmtdesc {
            flags,
            description,
            pixelformat
        }),
        ioctl::REQBUFS => spans!(v4l2_requestbuffers {
            count,
            capabilities,
            flags
        }),
        ioctl::QUERYBUF => spans!(v4l2_buffer {
            bytesused,
            flags,
            field,
            timestamp,
            timecode,
            sequence,
            m,
            length,
        }),
        ioctl::G_FBUF => {
            let mut spans = spans!(v4l2_framebuffer {
                capability, flags, fmt.width, fmt.height, fmt.pixelformat, fmt.field,
                fmt.bytesperline, fmt.sizeimage, fmt.colorspace,
            });
            spans.sort_by_key(|span| span.start);
            spans
        }
        ioctl::G_PARM => bytes(4..204),
        ioctl::S_PARM => spans!(v4l2_streamparm {
            parm.capture.capability, parm.capture.capturemode, parm.capture.timeperframe,
            parm.capture.extendedmode, parm.capture.readbuffers, parm.capture.reserved,
        }),
        ioctl::G_STD | ioctl::QUERYSTD => bytes(0..8),
        ioctl::ENUMSTD => spans!(v4l2_standard {
            id,
            name,
            frameperiod,
            framelines,
            reserved
        }),
        ioctl::ENUMINPUT => spans!(v4l2_input {
            name,
            type_,
            audioset,
            tuner,
            std,
            status,
            capabilities,
        }),
        ioctl::G_CTRL | ioctl::S_CTRL => spans!(v4l2_control { value }),
        ioctl::G_TUNER => spans!(v4l2_tuner {
            name,
            type_,
            capability,
            rangelow,
            rangehigh,
            rxsubchans,
            audmode,
            signal,
            afc,
        }),
        ioctl::G_AUDIO => spans!(v4l2_audio {
            index,
            name,
            capability,
            mode
        }),
        ioctl::ENUMAUDIO => spans!(v4l2_audio {
            name,
            capability,
            mode
        }),
        ioctl::G_AUDOUT => spans!(v4l2_audioout {
            index,
            name,
            capability,
            mode
        }),
        ioctl::ENUMAUDOUT => spans!(v4l2_audioout {
            name,
            capability,
            mode
        }),
        ioctl::QUERYCTRL => spans!(v4l2_queryctrl {
            id,
            type_,
            name,
            minimum,
            maximum,
            step,
            default_value,
            flags,
        }),
        ioctl::QUERYMENU => spans!(v4l2_querymenu { __bindgen_anon_1 }),
        ioctl::G_INPUT | ioctl::G_OUTPUT | ioctl::G_PRIORITY => bytes(0..4),
        ioctl::G_EDID | ioctl::S_EDID => spans!(v4l2_edid { blocks, reserved }),
        code => writable_from_outputs_on(code),
    }
}

/// The second half of [`writable`].
fn writable_from_outputs_on(code: u32) -> Vec<Range<usize>> {
    match code {
        ioctl::ENUMOUTPUT => spans!(v4l2_output {
            name,
            type_,
            audioset,
            modulator,
            std,
            capabilities,
        }),
        ioctl::G_MODULATOR => spans!(v4l2_modulator {
            name,
            capability,
            rangelow,
            rangehigh,
            txsubchans,
            type_,
        }),
        ioctl::G_FREQUENCY => spans!(v4l2_frequency { type_, frequency }),
        ioctl::CROPCAP => spans!(v4l2_cropcap {
            bounds,
            defrect,
            pixelaspect
        }),
        ioctl::G_CROP => spans!(v4l2_crop { c }),
        ioctl::G_SLICED_VBI_CAP => spans!(v4l2_sliced_vbi_cap {
            service_set,
            service_lines
        }),
        ioctl::G_EXT_CTRLS | ioctl::S_EXT_CTRLS | ioctl::TRY_EXT_CTRLS => {
            spans!(v4l2_ext_controls { error_idx })
        }
        ioctl::ENUM_FRAMESIZES => spans!(v4l2_frmsizeenum {
            type_,
            __bindgen_anon_1
        }),
        ioctl::ENUM_FRAMEINTERVALS => spans!(v4l2_frmivalenum {
            type_,
            __bindgen_anon_1
        }),
        ioctl::G_ENC_INDEX => spans!(v4l2_enc_idx {
            entries,
            entries_cap,
            entry
        }),
        ioctl::ENCODER_CMD | ioctl::TRY_ENCODER_CMD => spans!(v4l2_encoder_cmd { flags }),
        ioctl::DECODER_CMD | ioctl::TRY_DECODER_CMD => spans!(v4l2_decoder_cmd {
            flags, __bindgen_anon_1.stop, __bindgen_anon_1.start,
        }),
        ioctl::DBG_G_REGISTER => spans!(v4l2_dbg_register { size, val }),
        ioctl::S_DV_TIMINGS => bytes(4..132),
        ioctl::G_DV_TIMINGS => bytes(0..132),
        ioctl::QUERY_DV_TIMINGS => spans!(v4l2_dv_timings {
            type_, __bindgen_anon_1.bt.width, __bindgen_anon_1.bt.height,
            __bindgen_anon_1.bt.interlaced, __bindgen_anon_1.bt.polarities,
            __bindgen_anon_1.bt.pixelclock, __bindgen_anon_1.bt.hfrontporch,
            __bindgen_anon_1.bt.hsync, __bindgen_anon_1.bt.hbackporch,
            __bindgen_anon_1.bt.vfrontporch, __bindgen_anon_1.bt.vsync,
            __bindgen_anon_1.bt.vbackporch, __bindgen_anon_1.bt.il_vfrontporch,
            __bindgen_anon_1.bt.il_vsync, __bindgen_anon_1.bt.il_vbackporch,
            __bindgen_anon_1.bt.standards, __bindgen_anon_1.bt.flags,
            __bindgen_anon_1.bt.picture_aspect, __bindgen_anon_1.bt.cea861_vic,
            __bindgen_anon_1.bt.hdmi_vic,
        }),
        ioctl::ENUM_DV_TIMINGS => {
            let timings = offset_of!(c::v4l2_enum_dv_timings, timings);
            let of_timings = writable_from_outputs_on(ioctl::QUERY_DV_TIMINGS);
            let moved = |span: &Range<usize>| span.start + timings..span.end + timings;
            of_timings.iter().map(moved).collect()
        }
        ioctl::DV_TIMINGS_CAP => spans!(v4l2_dv_timings_cap {
            type_, __bindgen_anon_1.bt.min_width, __bindgen_anon_1.bt.max_width,
            __bindgen_anon_1.bt.min_height, __bindgen_anon_1.bt.max_height,
            __bindgen_anon_1.bt.min_pixelclock, __bindgen_anon_1.bt.max_pixelclock,
            __bindgen_anon_1.bt.standards, __bindgen_anon_1.bt.capabilities,
        }),
        ioctl::CREATE_BUFS => spans!(v4l2_create_buffers {
            index,
            count,
            capabilities,
            flags,
            max_num_buffers,
        }),
        ioctl::G_SELECTION | ioctl::S_SELECTION => spans!(v4l2_selection { r }),
        ioctl::ENUM_FREQ_BANDS => spans!(v4l2_frequency_band {
            capability,
            rangelow,
            rangehigh,
            modulation,
            reserved,
        }),
        ioctl::DBG_G_CHIP_INFO => spans!(v4l2_dbg_chip_info { name, flags }),
        ioctl::QUERY_EXT_CTRL => spans!(v4l2_query_ext_ctrl {
            id,
            type_,
            name,
            minimum,
            maximum,
            step,
            default_value,
            flags,
            elem_size,
            elems,
            nr_of_dims,
            dims,
        }),
        _ => Vec::new(),
    }
}

/// As [`writable`], of a `struct v4l2_format` of this type.
fn writable_format(buf_type: u32) -> Vec<Range<usize>> {
    match buf_type {
        1 | 2 => spans!(v4l2_format {
            fmt.pix.width, fmt.pix.height, fmt.pix.pixelformat, fmt.pix.field,
            fmt.pix.bytesperline, fmt.pix.sizeimage, fmt.pix.colorspace, fmt.pix.flags,
            fmt.pix.__bindgen_anon_1, fmt.pix.quantization, fmt.pix.xfer_func,
        }),
        9 | 10 => {
            let mut spans = spans!(v4l2_format {
                fmt.pix_mp.width, fmt.pix_mp.height, fmt.pix_mp.pixelformat, fmt.pix_mp.field,
                fmt.pix_mp.colorspace, fmt.pix_mp.num_planes, fmt.pix_mp.flags,
                fmt.pix_mp.__bindgen_anon_1, fmt.pix_mp.quantization, fmt.pix_mp.xfer_func,
            });
            let planes = offset_of!(c::v4l2_format, fmt.pix_mp.plane_fmt);
            for plane in 0..VIDEO_MAX_PLANES {
                let at = planes + plane * size_of::<c::v4l2_plane_pix_format>();
                for span in spans!(v4l2_plane_pix_format {
                    sizeimage,
                    bytesperline
                }) {
                    spans.push(at + span.start..at + span.end);
                }
            }
            spans
        }
        3 | 8 => spans!(v4l2_format {
            fmt.win.w, fmt.win.field, fmt.win.chromakey, fmt.win.global_alpha,
        }),
        4 | 5 => spans!(v4l2_format {
            fmt.vbi.sampling_rate, fmt.vbi.offset, fmt.vbi.samples_per_line,
            fmt.vbi.sample_format, fmt.vbi.start, fmt.vbi.count, fmt.vbi.flags,
        }),
        6 | 7 => spans!(v4l2_format {
            fmt.sliced.service_set, fmt.sliced.service_lines, fmt.sliced.io_size,
        }),
        11 | 12 => spans!(v4l2_format { fmt.sdr.pixelformat, fmt.sdr.buffersize }),
        13 | 14 => spans!(v4l2_format {
            fmt.meta.dataformat, fmt.meta.buffersize, fmt.meta.width, fmt.meta.height,
            fmt.meta.bytesperline,
        }),
        _ => Vec::new(),
    }
}

/// What the answer to this ioctl may change, if this is what was sent.
pub fn writable_of(ioctl: &Ioctl, payload: &[u8]) -> Vec<Range<usize>> {
    match ioctl.code {
        ioctl::G_FMT | ioctl::S_FMT | ioctl::TRY_FMT => writable_format(word(payload, 0)),
        ioctl::QUERYBUF if ioctl.pointer(payload).is_some() => {
            let pointer = offset_of!(Buffer, m);
            let mut spans = writable(ioctl.code);
            spans.retain(|span| span.start != pointer);
            spans
        }
        code => writable(code),
    }
}
