// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! vivid, vicodec and a USB camera, first used here, then by a guest with one proxy for each node:
//! what both say and see is compared.

mod clients;
mod guest;
mod written;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::compliance::Report;
use e2e::devices::{self, Camera, Nodes};
use e2e::nested::{self, job};
use e2e::{Devices, Results, Spec, comparison};

use crate::local;
use clients::SOURCE;

/// Where the host leaves what it makes.
const HOST: &str = "/out/host";
/// A stream of two resolutions.
const CHANGE: &str = "/run/change.fwht";

/// The nodes, in the order of the guest: the name there, the variable here.
const NODES: [(&str, &str); 13] = [
    ("camera", "CAMERA"),
    ("vid-cap", "VIVID_CAP"),
    ("encoder", "VICODEC_ENC"),
    ("decoder", "VICODEC_DEC"),
    ("vid-out", "VIVID_OUT"),
    ("vbi-cap", "VIVID_VBI_CAP"),
    ("vbi-out", "VIVID_VBI_OUT"),
    ("radio-rx", "VIVID_RADIO_RX"),
    ("radio-tx", "VIVID_RADIO_TX"),
    ("sdr", "VIVID_SDR"),
    ("meta-cap", "VIVID_META_CAP"),
    ("meta-out", "VIVID_META_OUT"),
    ("touch", "VIVID_TOUCH"),
];
/// Those of the short run: the fewer devices, the sooner the guest is up.
const QUICK: usize = 4;

/// Something that is done in a guest. A guest that is lost does not lose those that were done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Commands,
    Picture,
    Codec,
    Gstreamer,
    Decoder,
    /// A format of the camera.
    Camera(&'static str),
    /// v4l2-compliance of a node.
    Compliance(&'static str),
    UnplugCamera,
    UnbindVivid,
}

/// This machine's devices.
struct Host {
    camera: Option<Camera>,
    vivid: Nodes,
    vicodec: Nodes,
    /// The drivers that v4l2-compliance has rules for, by the name of the node.
    drivers: BTreeMap<&'static str, String>,
    /// Of v4l2-compliance.
    table: String,
    /// Commands that people are told of, and what they say in the guest.
    commands: String,
}

/// Whether v4l2-compliance runs, too. It takes minutes for each node in a VM in a VM: not in `make
/// test`.
fn all() -> bool {
    std::env::var("PARTS").is_ok_and(|parts| parts == "all")
}

/// The nodes of this run.
fn nodes() -> &'static [(&'static str, &'static str)] {
    if all() { &NODES } else { &NODES[..QUICK] }
}

/// Does all of it.
pub fn run(results: &Results) -> Result<()> {
    fs::create_dir_all(Path::new(HOST).join("compliance"))?;
    let Some(mut host) = Host::new(results) else {
        return Ok(());
    };
    host.uses(results)?;
    if all() {
        host.compliance()?;
    }
    // A guest, with what is like new.
    devices::vivid_unbind()?;
    host.vivid = devices::vivid_bind()?;
    // First by the shared memory region, as many devices at a time as QEMU 11.1 can have mappings
    // of (vhost-user's eight memory regions); then without one, the rest.
    let mut first = vec![
        Part::Commands,
        Part::Picture,
        Part::Codec,
        Part::Gstreamer,
        Part::Decoder,
    ];
    if all() {
        // A machine that stands still for three seconds loses frames: not in `make test`.
        first.push(Part::Camera("MJPG"));
    }
    in_guest(results, &mut host, "512M", &first)?;
    if all() {
        let mut rest = vec![Part::Camera("YUYV")];
        rest.extend(nodes().iter().map(|(name, _)| Part::Compliance(name)));
        rest.extend([Part::UnplugCamera, Part::UnbindVivid]);
        in_guest(results, &mut host, "0", &rest)?;
    }
    let report = format!("{}{}\n{}", comparison::HEAD, host.table, host.commands);
    fs::write("/out/report.txt", report).context("/out/report.txt")
}

/// Does `parts` in a guest whose daemon has this `--shm-size`.
fn in_guest(results: &Results, host: &mut Host, shm: &str, parts: &[Part]) -> Result<()> {
    results.remark(&format!("the guest, --shm-size {shm}: begin"));
    let out = PathBuf::from(format!("/out/guest-{shm}"));
    let name = format!("the guest's job runs to its end, --shm-size {shm}");
    let limit = std::env::var("LIMIT").unwrap_or_default();
    let limit = Duration::from_secs(limit.parse().context("LIMIT is a number of seconds")?);
    let mut done = Vec::new();
    let host = std::cell::RefCell::new(host);
    let spec = |_| {
        let mut host = host.borrow_mut();
        host.back()?;
        host.spec(shm, limit)
    };
    nested::in_guest(results, &name, &out, spec, |vm| {
        guest::parts(vm, results, &mut host.borrow_mut(), parts, &mut done);
    });
    results.remark(&format!("the guest, --shm-size {shm}: end"));
    let log = fs::read(out.join("daemon.log")).unwrap_or_default();
    let panic = String::from_utf8_lossy(&log).to_lowercase();
    let panic = panic.lines().find(|line| line.contains("panic"));
    let name = format!("nothing panicked in the daemon, --shm-size {shm}");
    let reason = panic.unwrap_or("the daemon left no log");
    results.verdict(&name, panic.is_none() && !log.is_empty(), reason);
    Ok(())
}

impl Host {
    /// Loads the devices. `None` if one is missing: there is nothing to compare then.
    fn new(results: &Results) -> Option<Self> {
        let vivid = has(results, "vivid", devices::vivid())?;
        let vicodec = has(results, "vicodec", devices::vicodec(&[]))?;
        let camera = has(results, "camera", plug())?;
        Some(Self {
            camera: Some(camera),
            vivid,
            vicodec,
            drivers: BTreeMap::new(),
            table: String::new(),
            commands: String::new(),
        })
    }

    /// The node that `variable` stands for.
    fn node(&self, variable: &str) -> Result<&Path> {
        if variable == "CAMERA" {
            let camera = self.camera.as_ref().context("the camera is unplugged")?;
            return Ok(&camera.node);
        }
        self.vivid
            .get(variable)
            .or_else(|_| self.vicodec.get(variable))
    }

    /// Uses the devices on this host.
    fn uses(&self, results: &Results) -> Result<()> {
        let file = |name: &str| format!("{HOST}/{name}");
        let node = |variable| Ok::<_, anyhow::Error>(self.node(variable)?.to_string_lossy());
        let (capture, encoder, decoder) = (
            node("VIVID_CAP")?,
            node("VICODEC_ENC")?,
            node("VICODEC_DEC")?,
        );
        let check = |name: &str, command: &str| local::check(results, name, command);
        let still = clients::vivid_still(&capture, &file("still.nv12"));
        check("vivid's picture, on the host", &still)?;
        let still = clients::ffmpeg_still(&capture, &file("ffmpeg.nv12"));
        check("vivid's picture, by FFmpeg, on the host", &still)?;
        let coded = file("coded.fwht");
        let encode = clients::fwht_encode(&encoder, &coded);
        check("vicodec encodes, on the host", &encode)?;
        let decode = clients::fwht_decode(&decoder, &coded, &file("decoded.nv12"));
        check("vicodec decodes, on the host", &decode)?;
        let gst = clients::gst_codec(&file("gst.fwht"), &file("gst.nv12"));
        check("GStreamer encodes and decodes, on the host", &gst)?;
        let change = clients::fwht_change(&encoder, CHANGE);
        check("a stream of two sizes, on the host", &change)?;
        let decode = format!("/job/decode {decoder} {CHANGE} {}", file("change.nv12"));
        check("the client of decoders, on the host", &decode)?;
        Ok(())
    }

    /// Has v4l2-compliance look at the nodes of this host.
    fn compliance(&mut self) -> Result<()> {
        for &(name, variable) in nodes() {
            let begin = Instant::now();
            let node = self.node(variable)?.to_string_lossy().into_owned();
            let info = local::run_for(60, &format!("v4l2-ctl -d {node} -D"))?;
            let driver = info.lines.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == "Driver name").then(|| value.trim().to_owned())
            });
            self.drivers.insert(
                name,
                driver.with_context(|| format!("{node} has no driver"))?,
            );
            let log = format!("{HOST}/compliance/{name}.txt");
            local::run_for(600, &clients::compliance(&node, &log))?;
            let seconds = begin.elapsed().as_secs();
            e2e::results::remark(&format!("{name} on the host: {seconds} s"));
        }
        Ok(())
    }

    /// Brings back what a guest that was lost had taken away.
    fn back(&mut self) -> Result<()> {
        if self.camera.is_none() {
            self.camera = Some(plug()?);
        }
        if !self.vivid.get("VIVID_CAP")?.exists() {
            self.vivid = devices::vivid_bind()?;
        }
        Ok(())
    }

    /// The guest with a proxy for each node.
    fn spec(&self, shm: &str, limit: Duration) -> Result<Spec> {
        let device = |&(name, variable): &(&str, &str)| {
            let node = self.node(variable)?.display();
            let proxy = format!("proxy,path={node},card={name}");
            Ok((name.to_owned(), proxy))
        };
        let devices = nodes().iter().map(device).collect::<Result<_>>()?;
        Ok(Spec {
            devices: Devices::Many(devices),
            daemon_args: vec!["--shm-size".to_owned(), shm.to_owned()],
            files: vec![
                job("decode"),
                job("driver-name.so"),
                SOURCE.into(),
                CHANGE.into(),
            ],
            ..nested::guest(limit)
        })
    }

    /// What v4l2-compliance has said of a node here.
    fn report(name: &str) -> Report {
        let log = Path::new(HOST).join(format!("compliance/{name}.txt"));
        Report::parse(&String::from_utf8_lossy(&fs::read(log).unwrap_or_default()))
    }
}

fn plug() -> Result<Camera> {
    Camera::plug(&job("usb-camera"), Path::new("/run/usb-camera.log"))
}

fn has<T>(results: &Results, name: &str, device: Result<T>) -> Option<T> {
    let name = format!("this host has {name}");
    match device {
        Ok(device) => {
            results.ok(&name);
            Some(device)
        }
        Err(error) => {
            results.not_ok(&name, &format!("{error:#}"));
            None
        }
    }
}
