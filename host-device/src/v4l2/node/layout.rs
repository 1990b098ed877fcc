// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Structures of the wire that the kernel gets as they are: checked, when this is compiled, against
//! those that v4l2r generates from `linux/videodev2.h`.

use std::mem::offset_of;

use protocol::wire::v4l2 as wire;
use v4l2r::bindings as uapi;

macro_rules! same {
    ($($wire:ident = $uapi:ident { $($ours:ident = $theirs:ident),* },)*) => {
        const _: () = {
            $(
                assert!(size_of::<wire::$wire>() == size_of::<uapi::$uapi>());
                $(assert!(offset_of!(wire::$wire, $ours) == offset_of!(uapi::$uapi, $theirs));)*
            )*
        };
    };
}

same! {
    Buffer = v4l2_buffer {
        index = index, type_ = type_, bytesused = bytesused, flags = flags, field = field,
        timestamp = timestamp, timecode = timecode, sequence = sequence, memory = memory, m = m,
        length = length, reserved2 = reserved2, request_fd = __bindgen_anon_1
    },
    Plane = v4l2_plane {
        bytesused = bytesused, length = length, m = m, data_offset = data_offset
    },
    Format = v4l2_format { type_ = type_, fmt = fmt },
    RequestBuffers = v4l2_requestbuffers {
        count = count, type_ = type_, memory = memory, capabilities = capabilities, flags = flags
    },
    CreateBuffers = v4l2_create_buffers {
        index = index, count = count, memory = memory, format = format, capabilities = capabilities,
        flags = flags, max_num_buffers = max_num_buffers
    },
    RemoveBuffers = v4l2_remove_buffers { index = index, count = count, type_ = type_ },
    ExportBuffer = v4l2_exportbuffer {
        type_ = type_, index = index, plane = plane, flags = flags, fd = fd
    },
    ExtControl = v4l2_ext_control {
        id = id, size = size, reserved2 = reserved2, value = __bindgen_anon_1
    },
    ExtControls = v4l2_ext_controls {
        which = __bindgen_anon_1, count = count, error_idx = error_idx, request_fd = request_fd,
        controls = controls
    },
    QueryCtrl = v4l2_queryctrl { id = id, type_ = type_, flags = flags },
    QueryExtCtrl = v4l2_query_ext_ctrl {
        id = id, type_ = type_, name = name, minimum = minimum, maximum = maximum, flags = flags,
        elem_size = elem_size, elems = elems, nr_of_dims = nr_of_dims, dims = dims
    },
    Edid = v4l2_edid { start_block = start_block, blocks = blocks, edid = edid },
    Event = v4l2_event { type_ = type_, u = u, pending = pending, timestamp = timestamp, id = id },
    EventSubscription = v4l2_event_subscription { type_ = type_, id = id, flags = flags },
}

const _: () = {
    let pointers = wire::Format::WINDOW_POINTERS;
    assert!(pointers.start == offset_of!(uapi::v4l2_window, clips));
    assert!(pointers.end == offset_of!(uapi::v4l2_window, global_alpha));
    assert!(offset_of!(uapi::v4l2_window, clipcount) > pointers.start);
    assert!(offset_of!(uapi::v4l2_window, bitmap) < pointers.end);
};

/// Where `struct v4l2_framebuffer` has `base`, in bytes.
pub(super) const FRAMEBUFFER_BASE: std::ops::Range<usize> = {
    let base = offset_of!(uapi::v4l2_framebuffer, base);
    base..base + size_of::<*const ()>()
};
