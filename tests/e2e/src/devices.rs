// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! V4L2 devices of a machine that is a host: vivid, vicodec and a USB camera. This runs in that
//! machine. Nodes are found by name: numbers depend on the order.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cache;
use crate::fixtures;
use crate::process;

/// vivid's nodes: the variable that names one to programs, and the name that V4L2 has for it.
const VIVID: [(&str, &str); 10] = [
    ("VIVID_CAP", "vivid-000-vid-cap"),
    ("VIVID_OUT", "vivid-000-vid-out"),
    ("VIVID_VBI_CAP", "vivid-000-vbi-cap"),
    ("VIVID_VBI_OUT", "vivid-000-vbi-out"),
    ("VIVID_RADIO_RX", "vivid-000-rad-rx"),
    ("VIVID_RADIO_TX", "vivid-000-rad-tx"),
    ("VIVID_SDR", "vivid-000-sdr-cap"),
    ("VIVID_META_CAP", "vivid-000-meta-cap"),
    ("VIVID_META_OUT", "vivid-000-meta-out"),
    ("VIVID_TOUCH", "vivid-000-touch-cap"),
];
/// vicodec's stateful encoder and decoder.
const VICODEC: [(&str, &str); 2] = [
    ("VICODEC_ENC", "stateful-encoder"),
    ("VICODEC_DEC", "stateful-decoder"),
];
/// How long a device may take to come or go.
const LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Nodes of a device, by the variables that name them to programs.
#[derive(Clone, Debug)]
pub struct Nodes(Vec<(&'static str, PathBuf)>);

impl Nodes {
    fn find(names: &[(&'static str, &str)]) -> Result<Self> {
        let nodes = names
            .iter()
            .map(|(variable, name)| Ok((*variable, node(name)?)));
        Ok(Self(nodes.collect::<Result<_>>()?))
    }

    /// The variables and their nodes.
    pub fn variables(&self) -> &[(&'static str, PathBuf)] {
        &self.0
    }

    /// The node that `variable` names.
    ///
    /// # Errors
    ///
    /// None does.
    pub fn get(&self, variable: &str) -> Result<&Path> {
        let found = self.0.iter().find(|(name, _)| *name == variable);
        let node = found.map(|(_, node)| node.as_path());
        node.with_context(|| format!("no node is called {variable}"))
    }
}

/// The nodes of video4linux: the path, and the name.
fn nodes() -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir("/sys/class/video4linux") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            // One that goes may be gone.
            let name = fs::read_to_string(entry.path().join("name")).ok()?;
            Some((entry.path(), name.trim_end().to_owned()))
        })
        .collect()
}

fn device_file(class: &Path) -> PathBuf {
    Path::new("/dev").join(class.file_name().unwrap_or_default())
}

/// The node of the video4linux device of that name.
///
/// # Errors
///
/// There is none.
pub fn node(name: &str) -> Result<PathBuf> {
    let found = nodes().into_iter().find(|(_, found)| found == name);
    found
        .map(|(class, _)| device_file(&class))
        .with_context(|| format!("no video4linux device \"{name}\" on this host"))
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    fixtures::run(program, arguments).map(drop)
}

/// Loads one vivid that has each kind of node, and whose controls do not inject errors.
///
/// # Errors
///
/// The kernel does not load it, or it lacks a node.
pub fn vivid() -> Result<Nodes> {
    run("modprobe", &["vivid", "n_devs=1", "no_error_inj=1"])?;
    Nodes::find(&VIVID)
}

/// Takes vivid's device from its driver, as unloading would, were it not in use: open files get
/// `ENODEV`.
///
/// # Errors
///
/// There is no such device.
pub fn vivid_unbind() -> Result<()> {
    bind("unbind")
}

/// The device comes back as a new one, with other nodes.
///
/// # Errors
///
/// The driver does not take it, or it lacks a node.
pub fn vivid_bind() -> Result<Nodes> {
    bind("bind")?;
    vivid()
}

fn bind(how: &str) -> Result<()> {
    let file = Path::new("/sys/bus/platform/drivers/vivid").join(how);
    fs::write(&file, "vivid.0").with_context(|| file.display().to_string())
}

/// Loads vicodec, which `tests/vm/prepare` has built for this kernel. `parameters` are those of the
/// module.
///
/// # Errors
///
/// The kernel does not load it.
pub fn vicodec(parameters: &[&str]) -> Result<Nodes> {
    if !Path::new("/sys/module/vicodec").exists() {
        let release = nix::sys::utsname::uname()?;
        let release = release.release().to_string_lossy().into_owned();
        let modules = cache::directory().join(format!("vicodec-{release}"));
        let module = |name: &str| modules.join(name).to_string_lossy().into_owned();
        let needed = [
            "-a",
            "videobuf2-vmalloc",
            "videobuf2-v4l2",
            "mc",
            "videodev",
        ];
        run("modprobe", &needed)?;
        run("insmod", &[&module("v4l2-mem2mem.ko")])?;
        run("insmod", &[&[&*module("vicodec.ko")], parameters].concat())?;
    }
    Nodes::find(&VICODEC)
}

/// What the camera shows: `WIDTHxHEIGHT/*.jpg`, thirty different ones of each size.
///
/// # Errors
///
/// GStreamer does not make them.
pub fn camera_frames() -> Result<PathBuf> {
    cache::once("camera-frames", "frames for the camera", |directory| {
        for (width, height) in [(640, 360), (320, 180)] {
            let place = directory.join(format!("{width}x{height}"));
            fs::create_dir(&place)?;
            let caps = format!("video/x-raw,width={width},height={height}");
            let location = format!("location={}/%02d.jpg", place.display());
            let source = ["videotestsrc", "num-buffers=30", "pattern=smpte"];
            let from = [&["-q"], &source[..], &["horizontal-speed=8", "!", &caps]].concat();
            let to = ["!", "jpegenc", "!", "multifilesink", &location];
            run("gst-launch-1.0", &[&from[..], &to].concat())?;
            let count = fs::read_dir(&place)?.count();
            if count != 30 {
                bail!("{count} frames of {width}x{height} instead of 30");
            }
        }
        Ok(())
    })
}

/// A USB camera (`tests/camera`) that is plugged in: the kernel's uvcvideo drives it.
#[derive(Debug)]
pub struct Camera {
    program: Child,
    /// The node that has the frames.
    pub node: PathBuf,
}

impl Camera {
    /// Plugs it in. `program` is `usb-camera`; what it says goes to `log`.
    ///
    /// # Errors
    ///
    /// The kernel has no driver, or finds no camera within a minute.
    pub fn plug(program: &Path, log: &Path) -> Result<Self> {
        run("modprobe", &["-a", "vhci_hcd", "uvcvideo"])?;
        let file = File::create(log)?;
        let mut program = Command::new(program)
            .arg("attach")
            .arg(camera_frames()?)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let said = || fs::read_to_string(log).unwrap_or_default();
        let deadline = Instant::now() + LIMIT;
        // The kernel asks it for its descriptors meanwhile.
        loop {
            if let Some(node) = Self::find() {
                return Ok(Self { program, node });
            }
            let ended = program.try_wait()?.is_some();
            if ended || Instant::now() >= deadline {
                let _ = program.kill();
                let _ = program.wait();
                bail!("no camera: {}", said().lines().last().unwrap_or_default());
            }
            std::thread::sleep(TICK);
        }
    }

    /// Its node, if there is a camera. The first one has the frames, the second one their headers.
    fn find() -> Option<PathBuf> {
        let first = |class: &Path| {
            fs::read_to_string(class.join("index")).is_ok_and(|index| index.trim() == "0")
        };
        let found = nodes()
            .into_iter()
            .find(|(class, name)| name == "Test camera" && first(class));
        found.map(|(class, _)| device_file(&class))
    }

    /// Pulls its plug, and waits until its node is gone.
    ///
    /// # Errors
    ///
    /// The node is still there after a minute.
    pub fn unplug(mut self) -> Result<()> {
        process::end(&mut self.program, "the camera", LIMIT);
        let deadline = Instant::now() + LIMIT;
        while Self::find().is_some() {
            if Instant::now() >= deadline {
                bail!("the camera's node is still there, a minute after it was unplugged");
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
