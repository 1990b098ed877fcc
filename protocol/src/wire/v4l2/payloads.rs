// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Payloads of which only the [table of ioctls](super::super::ioctl::TABLE) knows the fields: they
//! have names here so that the table can say which of them the device may write.

use super::{Fract, Rect};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

v4l2!(Capability = "v4l2_capability", 104 {
    driver: [u8; 16], card: [u8; 32], bus_info: [u8; 32], version: u32, capabilities: u32,
    device_caps: u32, reserved: [u32; 3],
});

v4l2! {
    /// `width` to `priv_` are the members of `fmt`.
    FrameBuffer = "v4l2_framebuffer", 48 {
        capability: u32, flags: u32, base: u64, width: u32, height: u32, pixelformat: u32,
        field: u32, bytesperline: u32, sizeimage: u32, colorspace: u32, priv_: u32,
    }
}

v4l2!(Standard = "v4l2_standard", 72 {
    index: u32, pad0: u32, id: u64, name: [u8; 24], frameperiod: Fract, framelines: u32,
    reserved: [u32; 4], pad1: u32,
});

v4l2!(Input = "v4l2_input", 80 {
    index: u32, name: [u8; 32], type_: u32, audioset: u32, tuner: u32, std: u64, status: u32,
    capabilities: u32, reserved: [u32; 3], pad: u32,
});

v4l2!(Output = "v4l2_output", 72 {
    index: u32, name: [u8; 32], type_: u32, audioset: u32, modulator: u32, std: u64,
    capabilities: u32, reserved: [u32; 3],
});

v4l2!(Tuner = "v4l2_tuner", 84 {
    index: u32, name: [u8; 32], type_: u32, capability: u32, rangelow: u32, rangehigh: u32,
    rxsubchans: u32, audmode: u32, signal: i32, afc: i32, reserved: [u32; 4],
});

v4l2!(Modulator = "v4l2_modulator", 68 {
    index: u32, name: [u8; 32], capability: u32, rangelow: u32, rangehigh: u32, txsubchans: u32,
    type_: u32, reserved: [u32; 3],
});

v4l2!(Frequency = "v4l2_frequency", 44 {
    tuner: u32, type_: u32, frequency: u32, reserved: [u32; 8],
});

v4l2!(FrequencyBand = "v4l2_frequency_band", 64 {
    tuner: u32, type_: u32, index: u32, capability: u32, rangelow: u32, rangehigh: u32,
    modulation: u32, reserved: [u32; 9],
});

v4l2!(HwFreqSeek = "v4l2_hw_freq_seek", 48 {
    tuner: u32, type_: u32, seek_upward: u32, wrap_around: u32, spacing: u32, rangelow: u32,
    rangehigh: u32, reserved: [u32; 5],
});

v4l2! {
    /// `struct v4l2_audioout` has the same layout.
    Audio = "v4l2_audio", 52 {
        index: u32, name: [u8; 32], capability: u32, mode: u32, reserved: [u32; 2],
    }
}

v4l2!(CropCap = "v4l2_cropcap", 44 {
    type_: u32, bounds: Rect, defrect: Rect, pixelaspect: Fract,
});
v4l2!(Crop = "v4l2_crop", 20 { type_: u32, c: Rect, });

v4l2!(JpegCompression = "v4l2_jpegcompression", 140 {
    quality: i32, app_n: i32, app_len: i32, app_data: [u8; 60], com_len: i32, com_data: [u8; 60],
    jpeg_markers: u32,
});

v4l2!(SlicedVbiCap = "v4l2_sliced_vbi_cap", 116 {
    service_set: u16, service_lines: [[u16; 24]; 2], pad: u16, type_: u32, reserved: [u32; 3],
});

v4l2! {
    /// An `entry` is a `struct v4l2_enc_idx_entry`.
    EncIdx = "v4l2_enc_idx", 2072 {
        entries: u32, entries_cap: u32, reserved: [u32; 4], entry: [[u64; 4]; 64],
    }
}

v4l2! {
    /// `command` is `stop.pts`, or `start.speed` and `start.format`.
    DecoderCmd = "v4l2_decoder_cmd", 72 { cmd: u32, flags: u32, command: u64, rest: [u64; 7], }
}

v4l2!(DbgRegister = "v4l2_dbg_register", 56 { match_: [u8; 36], size: u32, reg: u64, val: u64, });
v4l2!(DbgChipInfo = "v4l2_dbg_chip_info", 200 {
    match_: [u8; 36], name: [u8; 32], flags: u32, reserved: [u32; 32],
});

v4l2! {
    /// `bt` is `bt.width` to `bt.hdmi_vic`.
    DvTimings = "v4l2_dv_timings", 132 { type_: u32, bt: [u8; 78], reserved: [u8; 50], }
}

v4l2! {
    /// `type_` to `rest` are the members of `timings`, as in [`DvTimings`].
    EnumDvTimings = "v4l2_enum_dv_timings", 148 {
        index: u32, pad: u32, reserved: [u32; 2], type_: u32, bt: [u8; 78], rest: [u8; 50],
    }
}

v4l2! {
    /// `bt` is `bt.min_width` to `bt.capabilities`.
    DvTimingsCap = "v4l2_dv_timings_cap", 144 {
        type_: u32, pad: u32, reserved: [u32; 2], bt: [u32; 10], rest: [u32; 22],
    }
}

// The other members of the union in `struct v4l2_format`.

v4l2!(Window = "v4l2_window", 56 {
    w: Rect, field: u32, chromakey: u32, clips: u64, clipcount: u32, pad0: u32, bitmap: u64,
    global_alpha: u8, pad1: [u8; 7],
});

v4l2!(VbiFormat = "v4l2_vbi_format", 44 {
    sampling_rate: u32, offset: u32, samples_per_line: u32, sample_format: u32, start: [i32; 2],
    count: [u32; 2], flags: u32, reserved: [u32; 2],
});

v4l2!(SlicedVbiFormat = "v4l2_sliced_vbi_format", 112 {
    service_set: u16, service_lines: [[u16; 24]; 2], pad: u16, io_size: u32, reserved: [u32; 2],
});

v4l2!(SdrFormat = "v4l2_sdr_format", 32 { pixelformat: u32, buffersize: u32, reserved: [u8; 24], });

v4l2!(MetaFormat = "v4l2_meta_format", 20 {
    dataformat: u32, buffersize: u32, width: u32, height: u32, bytesperline: u32,
});
