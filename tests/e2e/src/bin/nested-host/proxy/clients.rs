// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What is done in the same way on the host's node and on the guest's, so that results can be
//! compared: commands for a shell.

/// The raw frames.
pub const SOURCE: &str = "/job/source-640x360.nv12";
/// Buffers that the node allocates.
pub const MMAP: &str = "--stream-mmap --stream-out-mmap";

/// Ten frames of a picture that does not depend on time: colour bars without text.
pub fn vivid_still(node: &str, file: &str) -> String {
    format!(
        "v4l2-ctl -d {node} --set-input 0 --set-ctrl test_pattern=0,osd_text_mode=2,\
         horizontal_movement=3,vertical_movement=3 && \
         v4l2-ctl -d {node} -v width=640,height=360,pixelformat=NV12 --stream-mmap \
         --stream-count=10 --stream-to {file}"
    )
}

/// Five frames of the same picture, by FFmpeg.
pub fn ffmpeg_still(node: &str, file: &str) -> String {
    format!(
        "ffmpeg -v error -nostdin -f v4l2 -input_format nv12 -video_size 640x360 -i {node} \
         -frames:v 5 -c copy -f rawvideo -y {file}"
    )
}

/// Twenty frames of 640x360 NV12 to FWHT.
pub fn fwht_encode(node: &str, stream: &str) -> String {
    format!(
        "v4l2-ctl -d {node} -c video_gop_size=5 -x width=640,height=360,pixelformat=NV12 \
         --stream-from {SOURCE} --stream-count=20 --stream-to {stream} {MMAP}"
    )
}

/// A stream of two resolutions, and the first one again.
pub fn fwht_change(node: &str, stream: &str) -> String {
    let first = fwht_encode(node, &format!("{stream}.640"));
    format!(
        "{first} && v4l2-ctl -d {node} -c video_gop_size=5 \
         -x width=800,height=480,pixelformat=NV12 {MMAP} --stream-count=6 \
         --stream-to {stream}.800 && cat {stream}.640 {stream}.800 {stream}.640 >{stream}"
    )
}

/// FWHT to NV12.
pub fn fwht_decode(node: &str, stream: &str, raw: &str) -> String {
    format!(
        "v4l2-ctl -d {node} -v pixelformat=NV12 --stream-from {stream} --stream-to {raw} {MMAP}"
    )
}

/// Fifteen frames through GStreamer's elements, which take the first encoder and decoder there are.
/// (FFmpeg has no FWHT.)
pub fn gst_codec(stream: &str, decoded: &str) -> String {
    format!(
        "gst-launch-1.0 -q filesrc location={SOURCE} blocksize=460800 num-buffers=15 ! \
         rawvideoparse format=nv12 width=640 height=480 framerate=25/1 ! \
         video/x-raw,colorimetry=bt709 ! v4l2fwhtenc ! tee name=coded ! queue ! \
         filesink location={stream} coded. ! queue ! v4l2fwhtdec ! filesink location={decoded}"
    )
}

/// v4l2-compliance with what it streams.
pub fn compliance(node: &str, log: &str) -> String {
    format!("v4l2-compliance -C never --no-progress -d {node} -s10 >{log} 2>&1")
}

/// The same with its rules for `driver`.
pub fn compliance_as(driver: &str, node: &str, log: &str) -> String {
    let preload = "LD_PRELOAD=/job/driver-name.so";
    format!("{preload} DRIVER_NAME={driver} {}", compliance(node, log))
}

/// Three hundred frames of the camera. One is lost when no buffer is free: 32 of them last three
/// seconds.
pub fn camera_stream(node: &str, format: &str, file: &str, log: &str) -> String {
    format!(
        "v4l2-ctl -d {node} -v width=320,height=180,pixelformat={format} -p 10 --verbose \
         --stream-mmap=32 --stream-count=300 --stream-to={file} >{log} 2>&1"
    )
}
