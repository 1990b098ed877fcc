// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Sizes and offsets of the V4L2 payloads against the bindings that v4l2r generates from
//! `videodev2.h`.
//!
//! Unions that ours keep as bytes are compared by where they begin; what they hold is compared
//! apart.

use std::mem::offset_of;

use protocol::wire::v4l2 as ours;
use virtio_media::v4l2r::bindings as c;

/// `test: Ours = c_name { field, other: c.path, … }` compares size, and the offset of each field.
macro_rules! same {
    ($test:ident: $ours:ident = $c:ident { $($field:ident $(: $($path:ident).+)?),* $(,)? }) => {
        #[test]
        fn $test() {
            assert_eq!(size_of::<ours::$ours>(), size_of::<c::$c>(), "size");
            $(assert_eq!(
                offset_of!(ours::$ours, $field),
                same!(@offset $c $field $($($path).+)?),
                stringify!($field)
            );)*
        }
    };
    (@offset $c:ident $field:ident) => {
        offset_of!(c::$c, $field)
    };
    (@offset $c:ident $field:ident $($path:ident).+) => {
        offset_of!(c::$c, $($path).+)
    };
}

same! { fract: Fract = v4l2_fract { numerator, denominator } }
same! { rect: Rect = v4l2_rect { left, top, width, height } }
same! { timecode: Timecode = v4l2_timecode {
    type_, flags, frames, seconds, minutes, hours, userbits,
} }
same! { buffer: Buffer = v4l2_buffer {
    index, type_, bytesused, flags, field, timestamp, timecode, sequence, memory, m, length,
    reserved2, request_fd: __bindgen_anon_1,
} }
same! { plane: Plane = v4l2_plane { bytesused, length, m, data_offset, reserved } }
same! { format: Format = v4l2_format { type_, fmt } }
same! { pix_format: PixFormat = v4l2_pix_format {
    width, height, pixelformat, field, bytesperline, sizeimage, colorspace, priv_, flags,
    ycbcr_enc: __bindgen_anon_1, quantization, xfer_func,
} }
same! { plane_pix_format: PlanePixFormat = v4l2_plane_pix_format {
    sizeimage, bytesperline, reserved,
} }
same! { pix_format_mplane: PixFormatMplane = v4l2_pix_format_mplane {
    width, height, pixelformat, field, colorspace, plane_fmt, num_planes, flags,
    ycbcr_enc: __bindgen_anon_1, quantization, xfer_func, reserved,
} }
same! { fmtdesc: FmtDesc = v4l2_fmtdesc {
    index, type_, flags, description, pixelformat, mbus_code, reserved,
} }
same! { frmsizeenum: FrmSizeEnum = v4l2_frmsizeenum {
    index, pixel_format, type_, stepwise: __bindgen_anon_1, reserved,
} }
same! { frmivalenum: FrmIvalEnum = v4l2_frmivalenum {
    index, pixel_format, width, height, type_, stepwise: __bindgen_anon_1, reserved,
} }
same! { streamparm: StreamParm = v4l2_streamparm { type_, capability: parm } }
same! { selection: Selection = v4l2_selection { type_, target, flags, r, reserved } }
same! { requestbuffers: RequestBuffers = v4l2_requestbuffers {
    count, type_, memory, capabilities, flags, reserved,
} }
same! { create_buffers: CreateBuffers = v4l2_create_buffers {
    index, count, memory, format, capabilities, flags, max_num_buffers, reserved,
} }
same! { remove_buffers: RemoveBuffers = v4l2_remove_buffers { index, count, type_, reserved } }
same! { exportbuffer: ExportBuffer = v4l2_exportbuffer {
    type_, index, plane, flags, fd, reserved,
} }
same! { control: Control = v4l2_control { id, value } }
same! { ext_control: ExtControl = v4l2_ext_control {
    id, size, reserved2, value: __bindgen_anon_1,
} }
same! { ext_controls: ExtControls = v4l2_ext_controls {
    which: __bindgen_anon_1, count, error_idx, request_fd, reserved, controls,
} }
same! { queryctrl: QueryCtrl = v4l2_queryctrl {
    id, type_, name, minimum, maximum, step, default_value, flags, reserved,
} }
same! { query_ext_ctrl: QueryExtCtrl = v4l2_query_ext_ctrl {
    id, type_, name, minimum, maximum, step, default_value, flags, elem_size, elems, nr_of_dims,
    dims, reserved,
} }
same! { querymenu: QueryMenu = v4l2_querymenu { id, index, name: __bindgen_anon_1, reserved } }
same! { edid: Edid = v4l2_edid { pad, start_block, blocks, reserved, edid } }
same! { encoder_cmd: EncoderCmd = v4l2_encoder_cmd { cmd, flags, raw: __bindgen_anon_1 } }
same! { event_subscription: EventSubscription = v4l2_event_subscription {
    type_, id, flags, reserved,
} }
same! { event: Event = v4l2_event { type_, u, pending, sequence, timestamp, id, reserved } }
same! { event_ctrl: EventCtrl = v4l2_event_ctrl {
    changes, type_, value: __bindgen_anon_1, flags, minimum, maximum, step, default_value,
} }
same! { capability: Capability = v4l2_capability {
    driver, card, bus_info, version, capabilities, device_caps, reserved,
} }
same! { framebuffer: FrameBuffer = v4l2_framebuffer {
    capability, flags, base, width: fmt.width, height: fmt.height, pixelformat: fmt.pixelformat,
    field: fmt.field, bytesperline: fmt.bytesperline, sizeimage: fmt.sizeimage,
    colorspace: fmt.colorspace, priv_: fmt.priv_,
} }
same! { standard: Standard = v4l2_standard { index, id, name, frameperiod, framelines, reserved } }
same! { input: Input = v4l2_input {
    index, name, type_, audioset, tuner, std, status, capabilities, reserved,
} }
same! { output: Output = v4l2_output {
    index, name, type_, audioset, modulator, std, capabilities, reserved,
} }
same! { tuner: Tuner = v4l2_tuner {
    index, name, type_, capability, rangelow, rangehigh, rxsubchans, audmode, signal, afc, reserved,
} }
same! { modulator: Modulator = v4l2_modulator {
    index, name, capability, rangelow, rangehigh, txsubchans, type_, reserved,
} }
same! { frequency: Frequency = v4l2_frequency { tuner, type_, frequency, reserved } }
same! { frequency_band: FrequencyBand = v4l2_frequency_band {
    tuner, type_, index, capability, rangelow, rangehigh, modulation, reserved,
} }
same! { hw_freq_seek: HwFreqSeek = v4l2_hw_freq_seek {
    tuner, type_, seek_upward, wrap_around, spacing, rangelow, rangehigh, reserved,
} }
same! { audio: Audio = v4l2_audio { index, name, capability, mode, reserved } }
same! { audioout: Audio = v4l2_audioout { index, name, capability, mode, reserved } }
same! { cropcap: CropCap = v4l2_cropcap { type_, bounds, defrect, pixelaspect } }
same! { crop: Crop = v4l2_crop { type_, c } }
same! { jpegcompression: JpegCompression = v4l2_jpegcompression {
    quality, app_n: APPn, app_len: APP_len, app_data: APP_data, com_len: COM_len,
    com_data: COM_data, jpeg_markers,
} }
same! { sliced_vbi_cap: SlicedVbiCap = v4l2_sliced_vbi_cap {
    service_set, service_lines, type_, reserved,
} }
same! { enc_idx: EncIdx = v4l2_enc_idx { entries, entries_cap, reserved, entry } }
same! { decoder_cmd: DecoderCmd = v4l2_decoder_cmd { cmd, flags, command: __bindgen_anon_1 } }
same! { dbg_register: DbgRegister = v4l2_dbg_register { match_, size, reg, val } }
same! { dbg_chip_info: DbgChipInfo = v4l2_dbg_chip_info { match_, name, flags, reserved } }
same! { dv_timings: DvTimings = v4l2_dv_timings {
    type_, bt: __bindgen_anon_1.bt, reserved: __bindgen_anon_1.bt.reserved,
} }
same! { enum_dv_timings: EnumDvTimings = v4l2_enum_dv_timings {
    index, pad, reserved, type_: timings.type_, bt: timings.__bindgen_anon_1.bt,
    rest: timings.__bindgen_anon_1.bt.reserved,
} }
same! { dv_timings_cap: DvTimingsCap = v4l2_dv_timings_cap {
    type_, pad, reserved, bt: __bindgen_anon_1.bt, rest: __bindgen_anon_1.bt.reserved,
} }
same! { window: Window = v4l2_window {
    w, field, chromakey, clips, clipcount, bitmap, global_alpha,
} }
same! { vbi_format: VbiFormat = v4l2_vbi_format {
    sampling_rate, offset, samples_per_line, sample_format, start, count, flags, reserved,
} }
same! { sliced_vbi_format: SlicedVbiFormat = v4l2_sliced_vbi_format {
    service_set, service_lines, io_size, reserved,
} }
same! { sdr_format: SdrFormat = v4l2_sdr_format { pixelformat, buffersize, reserved } }
same! { meta_format: MetaFormat = v4l2_meta_format {
    dataformat, buffersize, width, height, bytesperline,
} }

/// `parm.capture` and `parm.output` agree in layout, and ours stands for both.
#[test]
fn captureparm_and_outputparm() {
    let base = offset_of!(ours::StreamParm, capability);
    macro_rules! member {
        ($field:ident, $capture:ident, $output:ident) => {
            let offset = offset_of!(ours::StreamParm, $field) - base;
            assert_eq!(offset, offset_of!(c::v4l2_captureparm, $capture));
            assert_eq!(offset, offset_of!(c::v4l2_outputparm, $output));
        };
    }
    member!(capability, capability, capability);
    member!(mode, capturemode, outputmode);
    member!(timeperframe, timeperframe, timeperframe);
    member!(extendedmode, extendedmode, extendedmode);
    member!(buffers, readbuffers, writebuffers);
    member!(reserved, reserved, reserved);
    assert!(size_of::<c::v4l2_captureparm>() <= size_of::<ours::StreamParm>() - base);
}

/// A discrete size and a discrete interval stand first in `stepwise`, which is minimum, maximum,
/// step.
#[test]
fn stepwise() {
    let each = size_of::<u32>();
    assert_eq!(offset_of!(c::v4l2_frmsize_discrete, width), 0);
    assert_eq!(offset_of!(c::v4l2_frmsize_discrete, height), each);
    assert_eq!(offset_of!(c::v4l2_frmsize_stepwise, min_width), 0);
    assert_eq!(offset_of!(c::v4l2_frmsize_stepwise, max_width), each);
    assert_eq!(offset_of!(c::v4l2_frmsize_stepwise, step_width), 2 * each);
    assert_eq!(offset_of!(c::v4l2_frmsize_stepwise, min_height), 3 * each);
    assert_eq!(offset_of!(c::v4l2_frmsize_stepwise, max_height), 4 * each);
    assert_eq!(offset_of!(c::v4l2_frmsize_stepwise, step_height), 5 * each);
    assert_eq!(offset_of!(c::v4l2_frmival_stepwise, min), 0);
    assert_eq!(offset_of!(c::v4l2_frmival_stepwise, max), 2 * each);
    assert_eq!(offset_of!(c::v4l2_frmival_stepwise, step), 4 * each);
}

/// `v4l2_enc_idx_entry` and `stop.pts` stand for what ours keeps as numbers.
#[test]
fn members_kept_as_numbers() {
    let entry = size_of::<c::v4l2_enc_idx_entry>();
    assert_eq!(
        entry * c::V4L2_ENC_IDX_ENTRIES as usize,
        size_of_val(&ours::EncIdx::default().entry)
    );
    type Command = c::v4l2_decoder_cmd__bindgen_ty_1;
    assert_eq!(offset_of!(Command, stop.pts), 0);
    assert_eq!(offset_of!(Command, start.speed), 0);
    assert_eq!(offset_of!(Command, start.format), 4);
}

/// Constants with a type or a name of our own; the others are compared in videodev2.rs.
#[test]
fn constants() {
    assert_eq!(ours::MEMORY_MMAP, c::v4l2_memory_V4L2_MEMORY_MMAP);
    assert_eq!(ours::MEMORY_USERPTR, c::v4l2_memory_V4L2_MEMORY_USERPTR);
    assert_eq!(ours::MEMORY_DMABUF, c::v4l2_memory_V4L2_MEMORY_DMABUF);
    assert_eq!(ours::VIDEO_MAX_PLANES, c::VIDEO_MAX_PLANES as usize);
    assert_eq!(ours::VIDEO_MAX_FRAME, c::VIDEO_MAX_FRAME);
    assert_eq!(ours::MAX_CONTROLS, c::V4L2_CID_MAX_CTRLS as usize);
}
