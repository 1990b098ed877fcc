// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Stock programs with memory of their own (USERPTR, DMABUF): each stream is what the host's
//! encoder makes of the same frames, without guest, driver and lent memory.

use e2e::fixtures::{Size, source};
use e2e::programs::{self, h264_to, v4l2_ctl};
use e2e::streams::Source;
use e2e::{Devices, Results, Spec, Suite, TestVm, gst_launch};

const SIZES: [Size; 3] = [
    Size::new(640, 360),
    Size::new(1296, 972),
    Size::new(1920, 1080),
];

/// A camera of vivid.
struct Camera {
    /// Of its node.
    kind: &'static str,
    fourcc: &'static str,
    /// The encoder's element that takes its frames.
    element: &'static str,
    stream: &'static str,
    /// The file for what it sees.
    raw: &'static str,
    sees: &'static str,
}

/// One has all of a frame in one dmabuf, as most have, the other a plane for chroma of its own. The
/// second device offers the formats with several planes, too. GStreamer takes those then.
const CAMERAS: [Camera; 2] = [
    Camera {
        kind: "000-vid-cap",
        fourcc: "NV12",
        element: "v4l2h264enc",
        stream: "gstreamer-dmabuf-import",
        raw: "camera.nv12",
        sees: "what the camera sees",
    },
    Camera {
        kind: "001-vid-cap",
        fourcc: "NM12",
        element: "v4l2video1h264enc",
        stream: "gstreamer-dmabuf-planes",
        raw: "planar.nv12",
        sees: "what the camera of two planes sees",
    },
];

/// A session of the daemon: its stream, and what it was made of.
struct Session {
    name: String,
    source: Source,
}

#[test]
fn memory_clients() {
    let spec = Spec {
        devices: Devices::Many(vec![
            ("one".to_owned(), "encoder".to_owned()),
            ("all".to_owned(), "encoder,formats=all".to_owned()),
        ]),
        files: SIZES.map(|size| source(size).unwrap()).to_vec(),
        ..Spec::default()
    };
    let suite = Suite::new("memory-clients");
    let mut sessions = Vec::new();
    suite.run(&spec, |vm| sessions = checks(vm));
    suite.on_host(|results| compare(results, &suite, &sessions));
    suite.end();
}

/// What is checked in the guest. Returns the sessions that made a stream, in their order.
fn checks(vm: &mut TestVm) -> Vec<Session> {
    vm.modprobe("vivid n_devs=2 node_types=0x1,0x1 multiplanar=1,2");
    let mut sessions = Vec::new();
    for size in SIZES {
        from_file(vm, size, &mut sessions);
    }
    for camera in &CAMERAS {
        from_camera(vm, camera, &mut sessions);
    }
    vm.leaves_cleanly();
    sessions
}

fn from_file(vm: &TestVm, size: Size, sessions: &mut Vec<Session>) {
    let mut session = |name: String, command: &str| {
        encoded(vm, name, Source::Clip(size), command, sessions);
    };
    // No --stream-out-dmabuf: on a memory-to-memory device, whichever it is, v4l2-ctl 1.30 exports
    // before there are buffers.
    let name = format!("v4l2-ctl-user-{size}");
    let by_user = "--stream-user --stream-out-user";
    let command = v4l2_ctl(size, by_user, &format!("{name}.h264"));
    session(name, &command);
    // By USERPTR GStreamer passes each plane as memory of its own, so it wants a format for that.
    for (mode, element) in [("mmap", "v4l2h264enc"), ("userptr", "v4l2video1h264enc")] {
        let name = format!("gstreamer-{mode}-{size}");
        let end = h264_to(&format!("{name}.h264"));
        let encode = format!("{element} output-io-mode={mode} ! {end}");
        session(name, &programs::gstreamer(size, "-q", &encode));
    }
    let name = format!("ffmpeg-{size}");
    let encode = format!("-c:v h264_v4l2m2m /out/{name}.h264");
    session(name, &programs::ffmpeg(size, &encode));
}

/// Frames that a camera exports: always the same, so that what it sees can go to the host in a run
/// of its own. That one comes second, for the colours that GStreamer has set.
fn from_camera(vm: &TestVm, camera: &Camera, sessions: &mut Vec<Session>) {
    let Camera {
        stream,
        element,
        raw,
        fourcc,
        ..
    } = camera;
    let node = vm.vivid_node(camera.kind);
    vm.run(&format!(
        "v4l2-ctl -d {node} -v width=640,height=360,pixelformat={fourcc} -c osd_text_mode=2"
    ));
    let command = format!(
        "gst-launch-1.0 -q v4l2src device={node} io-mode=dmabuf num-buffers=30 \
         ! video/x-raw,format=NV12,width=640,height=360,framerate=25/1 \
         ! {element} output-io-mode=dmabuf-import ! {}",
        h264_to(&format!("{stream}.h264"))
    );
    let source = Source::Made((*raw).to_owned());
    encoded(vm, (*stream).to_owned(), source, &command, sessions);
    let same = format!("--stream-mmap --stream-count=30 --stream-to=/out/{raw}");
    vm.check(camera.sees, &format!("v4l2-ctl -d {node} {same}"));
}

/// A session whose stream is `/out/NAME.h264`. v4l2-ctl may fail without saying so.
fn encoded(vm: &TestVm, name: String, source: Source, command: &str, sessions: &mut Vec<Session>) {
    let made = format!("{command} && test -s /out/{name}.h264");
    if vm.check_for(180, &name, &made) {
        sessions.push(Session { name, source });
    }
}

/// On the host: the daemon's log names a pipeline for each session, in their order.
fn compare(results: &Results, suite: &Suite, sessions: &[Session]) {
    let log = std::fs::read_to_string(suite.out().join("daemon.log")).unwrap();
    let pipelines = gst_launch::pipelines(&log);
    for (session, pipeline) in sessions.iter().zip(&pipelines) {
        let name = format!("{}: bit-identical to x264enc on the host", session.name);
        let stream = suite.out().join(format!("{}.h264", session.name));
        let raw = session.source.path(suite.out()).unwrap();
        pipeline.check(results, &name, &stream, &raw);
    }
    let reason = format!("{} sessions, {} pipelines", sessions.len(), pipelines.len());
    let all = !sessions.is_empty() && sessions.len() == pipelines.len();
    results.verdict("every session is in the daemon's log", all, &reason);
}
