// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Command lines of stock programs that encode in the guest, and what they print.
//!
//! Their frames are those of [`fixtures::source`](crate::fixtures::source), 25 in a second.

use std::time::Duration;

use crate::fixtures::Size;

/// v4l2-ctl encodes a source to H.264, at `/out/STREAM`; `options` choose the memory.
pub fn v4l2_ctl(size: Size, options: &str, stream: &str) -> String {
    let Size { width, height } = size;
    format!(
        "v4l2-ctl -d /dev/video0 \
         --set-fmt-video-out width={width},height={height},pixelformat=NV12 \
         --set-fmt-video pixelformat=H264 --set-output-parm 25 {options} \
         --stream-from {} --stream-to /out/{stream}",
        source(size)
    )
}

/// FFmpeg reads a source; `encode` are its further arguments.
pub fn ffmpeg(size: Size, encode: &str) -> String {
    format!(
        "ffmpeg -nostdin -v warning -y -f rawvideo -pix_fmt nv12 -video_size {size} -framerate 25 \
         -i {} {encode}",
        source(size)
    )
}

/// GStreamer reads a source, and what comes in `encode` encodes it.
pub fn gstreamer(size: Size, options: &str, encode: &str) -> String {
    let Size { width, height } = size;
    format!(
        "gst-launch-1.0 {options} filesrc location={} \
         ! rawvideoparse format=nv12 width={width} height={height} framerate=25/1 ! {encode}",
        source(size)
    )
}

/// The end of a pipeline of GStreamer: H.264 to `/out/STREAM`.
pub fn h264_to(stream: &str) -> String {
    format!("video/x-h264,stream-format=byte-stream ! filesink location=/out/{stream}")
}

/// The source of this size, in the guest.
pub fn source(size: Size) -> String {
    format!("/job/source-{size}.nv12")
}

/// The times of the packets that FFmpeg's muxer `framecrc` lists, in its time base.
pub fn packet_times(lines: &[String]) -> Vec<i64> {
    let time = |line: &String| {
        // stream, dts, pts, duration, size, checksum
        let mut fields = line.split(',').map(str::trim);
        fields.next()?.parse::<u32>().ok()?;
        fields.nth(1)?.parse().ok()
    };
    lines.iter().filter_map(time).collect()
}

/// The times of the buffers that GStreamer's element `identity` tells of (`silent=false`, `-v`).
pub fn buffer_times(lines: &[String]) -> Vec<Duration> {
    let time = |line: &String| {
        let (_, buffer) = line.split_once("last-message = chain ")?;
        clock(buffer.split_once(" pts: ")?.1.split_once(',')?.0)
    };
    lines.iter().filter_map(time).collect()
}

/// Reads `H:MM:SS.NNNNNNNNN`.
fn clock(text: &str) -> Option<Duration> {
    let mut fields = text.split([':', '.']);
    let mut field = || fields.next()?.parse::<u64>().ok();
    let (hours, minutes, seconds) = (field()?, field()?, field()?);
    let nanoseconds = Duration::from_nanos(field()?);
    Some(Duration::from_secs((hours * 60 + minutes) * 60 + seconds) + nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn framecrc_lists_times() {
        let told = lines(
            "#software: Lavf61.7.100\n#tb 0: 1/25\n[h264_v4l2m2m @ 0x1] a warning, of 3, 4\n\
             0,          0,          0,        1,     4321, 0x12345678\n\
             0,          1,          1,        1,      123, 0x12345679, F=0x0\n",
        );
        assert_eq!(packet_times(&told), [0, 1]);
    }

    #[test]
    fn identity_tells_times() {
        let start = "/GstPipeline:pipeline0/GstIdentity:times: last-message = chain   *******";
        let told = lines(&format!(
            "Setting pipeline to PLAYING ...\n\
             {start} (times:sink) (99 bytes, dts: none, pts: 0:00:00.000000000, duration: none)\n\
             {start} (times:sink) (99 bytes, dts: none, pts: none, duration: none)\n\
             {start} (times:sink) (99 bytes, dts: none, pts: 1:02:03.040000000, duration: none)\n",
        ));
        let times = [Duration::ZERO, Duration::from_millis(3_723_040)];
        assert_eq!(buffer_times(&told), times);
    }
}
