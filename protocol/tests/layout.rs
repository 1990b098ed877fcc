// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Sizes and offsets of the V4L2 payloads against the bindings that v4l2r generates from `videodev2.h`.
//!
//! Unions that ours keep as bytes are compared by where they begin; what they hold is compared apart.

use std::mem::offset_of;

use protocol::wire::v4l2 as ours;
use virtio_media::v4l2r::bindings as c;

/// `ours Name = c_name { field: c.path, … }` compares size, and the offset of each field.
macro_rules! same {
    ($test:ident, $ours:ident, $c:ident { $($field:ident: $($path:ident).+,)* }) => {
        #[test]
        fn $test() {
            assert_eq!(size_of::<ours::$ours>(), size_of::<c::$c>(), "size");
            $(assert_eq!(
                offset_of!(ours::$ours, $field),
                offset_of!(c::$c, $($path).+),
                stringify!($field)
            );)*
        }
    };
}

same!(
    fract,
    Fract,
    v4l2_fract {
        numerator: numerator,
        denominator: denominator,
    }
);
same!(
    rect,
    Rect,
    v4l2_rect {
        left: left,
        top: top,
        width: width,
        height: height,
    }
);
same!(
    timecode,
    Timecode,
    v4l2_timecode {
        type_: type_,
        flags: flags,
        frames: frames,
        seconds: seconds,
        minutes: minutes,
        hours: hours,
        userbits: userbits,
    }
);
same!(
    buffer,
    Buffer,
    v4l2_buffer {
        index: index,
        type_: type_,
        bytesused: bytesused,
        flags: flags,
        field: field,
        timestamp: timestamp,
        timecode: timecode,
        sequence: sequence,
        memory: memory,
        m: m,
        length: length,
        reserved2: reserved2,
        request_fd: __bindgen_anon_1,
    }
);
same!(
    plane,
    Plane,
    v4l2_plane {
        bytesused: bytesused,
        length: length,
        m: m,
        data_offset: data_offset,
        reserved: reserved,
    }
);
same!(
    format,
    Format,
    v4l2_format {
        type_: type_,
        fmt: fmt,
    }
);
same!(
    pix_format,
    PixFormat,
    v4l2_pix_format {
        width: width,
        height: height,
        pixelformat: pixelformat,
        field: field,
        bytesperline: bytesperline,
        sizeimage: sizeimage,
        colorspace: colorspace,
        priv_: priv_,
        flags: flags,
        ycbcr_enc: __bindgen_anon_1,
        quantization: quantization,
        xfer_func: xfer_func,
    }
);
same!(
    plane_pix_format,
    PlanePixFormat,
    v4l2_plane_pix_format {
        sizeimage: sizeimage,
        bytesperline: bytesperline,
        reserved: reserved,
    }
);
same!(
    pix_format_mplane,
    PixFormatMplane,
    v4l2_pix_format_mplane {
        width: width,
        height: height,
        pixelformat: pixelformat,
        field: field,
        colorspace: colorspace,
        plane_fmt: plane_fmt,
        num_planes: num_planes,
        flags: flags,
        ycbcr_enc: __bindgen_anon_1,
        quantization: quantization,
        xfer_func: xfer_func,
        reserved: reserved,
    }
);
same!(
    fmtdesc,
    FmtDesc,
    v4l2_fmtdesc {
        index: index,
        type_: type_,
        flags: flags,
        description: description,
        pixelformat: pixelformat,
        mbus_code: mbus_code,
        reserved: reserved,
    }
);
same!(
    frmsizeenum,
    FrmSizeEnum,
    v4l2_frmsizeenum {
        index: index,
        pixel_format: pixel_format,
        type_: type_,
        stepwise: __bindgen_anon_1,
        reserved: reserved,
    }
);
same!(
    frmivalenum,
    FrmIvalEnum,
    v4l2_frmivalenum {
        index: index,
        pixel_format: pixel_format,
        width: width,
        height: height,
        type_: type_,
        stepwise: __bindgen_anon_1,
        reserved: reserved,
    }
);
same!(
    streamparm,
    StreamParm,
    v4l2_streamparm {
        type_: type_,
        capability: parm,
    }
);
same!(
    selection,
    Selection,
    v4l2_selection {
        type_: type_,
        target: target,
        flags: flags,
        r: r,
        reserved: reserved,
    }
);
same!(
    requestbuffers,
    RequestBuffers,
    v4l2_requestbuffers {
        count: count,
        type_: type_,
        memory: memory,
        capabilities: capabilities,
        flags: flags,
        reserved: reserved,
    }
);
same!(
    create_buffers,
    CreateBuffers,
    v4l2_create_buffers {
        index: index,
        count: count,
        memory: memory,
        format: format,
        capabilities: capabilities,
        flags: flags,
        max_num_buffers: max_num_buffers,
        reserved: reserved,
    }
);
same!(
    remove_buffers,
    RemoveBuffers,
    v4l2_remove_buffers {
        index: index,
        count: count,
        type_: type_,
        reserved: reserved,
    }
);
same!(
    exportbuffer,
    ExportBuffer,
    v4l2_exportbuffer {
        type_: type_,
        index: index,
        plane: plane,
        flags: flags,
        fd: fd,
        reserved: reserved,
    }
);
same!(
    control,
    Control,
    v4l2_control {
        id: id,
        value: value,
    }
);
same!(
    ext_control,
    ExtControl,
    v4l2_ext_control {
        id: id,
        size: size,
        reserved2: reserved2,
        value: __bindgen_anon_1,
    }
);
same!(
    ext_controls,
    ExtControls,
    v4l2_ext_controls {
        which: __bindgen_anon_1,
        count: count,
        error_idx: error_idx,
        request_fd: request_fd,
        reserved: reserved,
        controls: controls,
    }
);
same!(
    queryctrl,
    QueryCtrl,
    v4l2_queryctrl {
        id: id,
        type_: type_,
        name: name,
        minimum: minimum,
        maximum: maximum,
        step: step,
        default_value: default_value,
        flags: flags,
        reserved: reserved,
    }
);
same!(
    query_ext_ctrl,
    QueryExtCtrl,
    v4l2_query_ext_ctrl {
        id: id,
        type_: type_,
        name: name,
        minimum: minimum,
        maximum: maximum,
        step: step,
        default_value: default_value,
        flags: flags,
        elem_size: elem_size,
        elems: elems,
        nr_of_dims: nr_of_dims,
        dims: dims,
        reserved: reserved,
    }
);
same!(
    querymenu,
    QueryMenu,
    v4l2_querymenu {
        id: id,
        index: index,
        name: __bindgen_anon_1,
        reserved: reserved,
    }
);
same!(
    edid,
    Edid,
    v4l2_edid {
        pad: pad,
        start_block: start_block,
        blocks: blocks,
        reserved: reserved,
        edid: edid,
    }
);
same!(
    encoder_cmd,
    EncoderCmd,
    v4l2_encoder_cmd {
        cmd: cmd,
        flags: flags,
        raw: __bindgen_anon_1,
    }
);
same!(
    event_subscription,
    EventSubscription,
    v4l2_event_subscription {
        type_: type_,
        id: id,
        flags: flags,
        reserved: reserved,
    }
);
same!(
    event,
    Event,
    v4l2_event {
        type_: type_,
        u: u,
        pending: pending,
        sequence: sequence,
        timestamp: timestamp,
        id: id,
        reserved: reserved,
    }
);
same!(
    event_ctrl,
    EventCtrl,
    v4l2_event_ctrl {
        changes: changes,
        type_: type_,
        value: __bindgen_anon_1,
        flags: flags,
        minimum: minimum,
        maximum: maximum,
        step: step,
        default_value: default_value,
    }
);

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

/// A discrete size and a discrete interval stand first in `stepwise`, which is minimum, maximum, step.
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

#[test]
fn constants() {
    assert_eq!(ours::MEMORY_MMAP, c::v4l2_memory_V4L2_MEMORY_MMAP);
    assert_eq!(ours::MEMORY_USERPTR, c::v4l2_memory_V4L2_MEMORY_USERPTR);
    assert_eq!(ours::MEMORY_DMABUF, c::v4l2_memory_V4L2_MEMORY_DMABUF);
    assert_eq!(
        ours::BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        c::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
    );
    assert_eq!(
        ours::BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        c::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE
    );
    assert_eq!(ours::VIDEO_MAX_PLANES, c::VIDEO_MAX_PLANES as usize);
    assert_eq!(ours::VIDEO_MAX_FRAME, c::VIDEO_MAX_FRAME);
    assert_eq!(ours::MAX_CONTROLS, c::V4L2_CID_MAX_CTRLS as usize);
}
