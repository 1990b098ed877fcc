// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The guest's half. Nodes are named by their cards.
//!
//! Programs write to the guest's memory: in small pieces, and each one to `/out` would go through
//! two hosts.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::comparison::Comparison;
use e2e::compliance::Report;
use e2e::kernel_log::SLOW_CLOCK;
use e2e::nested::{self, job};
use e2e::{Results, TestVm, devices};

use super::clients;
use super::written::as_written;
use super::{HOST, Host, Part};
use crate::local;

/// How long a program may take, in seconds.
const LIMIT: u32 = 600;
/// A stream that is made to see whether the encoder works.
const CODED: &str = "/tmp/coded.fwht";

/// Does those of `parts` that are not `done`.
pub fn parts(
    vm: &mut TestVm,
    results: &Results,
    host: &mut Host,
    parts: &[Part],
    done: &mut Vec<Part>,
) {
    vm.run("mkdir -p /out/compliance /tmp/commands");
    let mut guest = Guest {
        nodes: nodes(&vm.run("grep -H . /sys/class/video4linux/*/name").lines),
        vm,
        host,
    };
    for part in parts {
        if done.contains(part) {
            continue;
        }
        let begin = Instant::now();
        guest
            .part(*part)
            .unwrap_or_else(|error| panic!("{part:?}: {error:#}"));
        nested::finish(guest.vm, results);
        done.push(*part);
        let seconds = begin.elapsed().as_secs();
        e2e::results::remark(&format!("{part:?} in the guest: {seconds} s"));
    }
    vm.dmesg_clean("no kernel warning", &SLOW_CLOCK);
}

/// The nodes by their names, from lines `/sys/class/video4linux/NODE/name:NAME`.
fn nodes(lines: &[String]) -> HashMap<String, String> {
    let node = |line: &String| {
        let (path, name) = line.split_once(':')?;
        let node = Path::new(path).parent()?.file_name()?.to_string_lossy();
        Some((name.to_owned(), format!("/dev/{node}")))
    };
    lines.iter().filter_map(node).collect()
}

struct Guest<'a> {
    vm: &'a TestVm,
    host: &'a mut Host,
    nodes: HashMap<String, String>,
}

impl Guest<'_> {
    fn part(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Commands => self.commands(),
            Part::Picture => self.picture(),
            Part::Codec => self.codec(),
            Part::Gstreamer => self.gstreamer(),
            Part::Decoder => self.decoder(),
            Part::Camera(format) => return self.camera(format),
            Part::Compliance(name) => self.compliance(name),
            Part::UnplugCamera => {
                let camera = self.host.camera.take();
                self.goes("camera_unplug", "camera", || {
                    camera.map_or(Ok(()), devices::Camera::unplug)
                })?;
            }
            Part::UnbindVivid => {
                self.goes("vivid_unbind", "vid-cap", devices::vivid_unbind)?;
            }
        }
        Ok(())
    }

    /// The node of this name. Programs will say that one without a path is none.
    fn node(&self, name: &str) -> &str {
        self.nodes.get(name).map_or("none", String::as_str)
    }

    fn check(&self, name: &str, command: &str) -> bool {
        self.vm.check_for(LIMIT, name, command)
    }

    /// Brings a file from `/tmp` to the host, in large pieces.
    fn out(&self, file: &str) {
        let copy = format!("dd if=/tmp/{file} of=/out/{file} bs=256k status=none");
        self.vm.run_for(LIMIT, &format!("{copy} && rm /tmp/{file}"));
    }

    /// A file that both have made is the same.
    fn same(&self, file: &str) {
        let name = format!("{file}: in the guest as on the host");
        let (host, guest) = (Path::new(HOST).join(file), self.vm.out().join(file));
        local::same(&self.vm.results, &name, &host, &guest);
    }

    fn commands(&mut self) {
        let said = [
            as_written(
                self.vm,
                "as written: camera",
                self.node("camera"),
                ("test.mjpg", 60_000),
                "v4l2-ctl -d0 -v pixelformat=MJPG --stream-mmap --stream-to=test.mjpg",
            ),
            as_written(
                self.vm,
                "as written: vivid",
                self.node("vid-cap"),
                ("test.yuv", 2_000_000),
                "v4l2-ctl -d0 -v pixelformat=NV12 --stream-mmap --stream-to test.yuv",
            ),
            as_written(
                self.vm,
                "as written: vicodec",
                self.node("encoder"),
                ("test.fwht", 200_000),
                "v4l2-ctl -x pixelformat=NV12 --stream-mmap --stream-out-mmap \
                 --stream-to-hdr test.fwht",
            ),
        ];
        self.host.commands = said.concat();
    }

    fn picture(&self) {
        let capture = self.node("vid-cap");
        let still = clients::vivid_still(capture, "/tmp/still.nv12");
        self.check("vivid's picture", &still);
        // With as many buffers as there may be.
        let still = clients::ffmpeg_still(capture, "/tmp/ffmpeg.nv12");
        self.check("vivid's picture, by FFmpeg", &still);
        for file in ["still.nv12", "ffmpeg.nv12"] {
            self.out(file);
            self.same(file);
        }
    }

    fn codec(&self) {
        let encode = clients::fwht_encode(self.node("encoder"), CODED);
        self.check("vicodec encodes", &encode);
        let decode = clients::fwht_decode(self.node("decoder"), CODED, "/tmp/decoded.nv12");
        self.check("vicodec decodes", &decode);
        self.out("decoded.nv12");
        self.vm.run(&format!("cp {CODED} /out/"));
        self.same("coded.fwht");
        self.same("decoded.nv12");
    }

    fn gstreamer(&self) {
        let gst = clients::gst_codec("/tmp/gst.fwht", "/tmp/gst.nv12");
        self.check("GStreamer encodes and decodes", &gst);
        for file in ["gst.fwht", "gst.nv12"] {
            self.out(file);
            self.same(file);
        }
    }

    fn decoder(&self) {
        let node = self.node("decoder");
        let decode = format!("/job/decode {node} /job/change.fwht /tmp/change.nv12");
        self.vm.lines_for(LIMIT, &decode);
        self.out("change.nv12");
        self.same("change.nv12");
    }

    fn camera(&self, format: &str) -> Result<()> {
        let (file, log) = (format!("camera.{format}"), format!("camera-{format}.log"));
        let (here, said) = (format!("/tmp/{file}"), format!("/out/{log}"));
        let stream = clients::camera_stream(self.node("camera"), format, &here, &said);
        self.vm.run_for(400, &stream);
        let said = std::fs::read(self.vm.out().join(&log)).unwrap_or_default();
        let gap = no_gap(&String::from_utf8_lossy(&said));
        let name = format!("camera, {format}: 300 frames, no gap");
        let reason = gap.clone().err().unwrap_or_default();
        self.vm.results.verdict(&name, gap.is_ok(), &reason);
        self.out(&file);
        let name = format!("camera, {format}: 300 frames, each byte of them");
        let check = format!(
            "{} check {} {format} 320x180 {}",
            job("usb-camera").display(),
            devices::camera_frames()?.display(),
            self.vm.out().join(&file).display()
        );
        local::check(&self.vm.results, &name, &check).map(drop)
    }

    fn compliance(&mut self, name: &'static str) {
        let log = format!("/tmp/{name}.txt");
        let driver = self.host.drivers.get(name).map_or("", String::as_str);
        let command = clients::compliance_as(driver, self.node(name), &log);
        self.vm.run_for(LIMIT, &command);
        self.vm.run(&format!("cp {log} /out/compliance/"));
        let log = self.vm.out().join(format!("compliance/{name}.txt"));
        let said = std::fs::read(log).unwrap_or_default();
        let guest = Report::parse(&String::from_utf8_lossy(&said));
        let comparison = Comparison::new(name, &Host::report(name), &guest);
        comparison.tell(&self.vm.results);
        self.host.table += &format!("{}\n", comparison.row());
    }

    /// The device goes while a program streams, which is told so; what is done with another one
    /// works on.
    fn goes(&self, part: &str, name: &str, go: impl FnOnce() -> Result<()>) -> Result<()> {
        let (vm, node) = (self.vm, self.node(name));
        let encoder = self.node("encoder");
        if !vm.run(&format!("test -e {CODED}")).success() {
            vm.run_for(LIMIT, &clients::fwht_encode(encoder, CODED));
        }
        let stream = format!("v4l2-ctl -d {node} --verbose --stream-mmap --stream-to=/dev/null");
        let mut program = vm.guest.spawn(&stream)?;
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut streams = false;
        while !streams && let Some(line) = program.next_line(deadline)? {
            streams = line.contains("dqbuf");
        }
        if !streams {
            let said = program.lines().last().map_or("", String::as_str);
            vm.results.not_ok(&format!("{part}: streams"), said);
        }
        if let Err(error) = go() {
            let reason = format!("{error:#}");
            vm.results.not_ok(&format!("{part} on the host"), &reason);
        }
        if program.ends(120)? {
            // v4l2-ctl names the error of a DQBUF. If it was a QBUF's, with which it came a moment
            // earlier, it says just that.
            let told =
                |line: &String| line.contains("No such device") || line.contains("qbuf error");
            let name = format!("{part}: the program is told that there is no such device");
            let good = program.lines().iter().any(told);
            let said = program.lines().last().map_or("", String::as_str);
            vm.results.verdict(&name, good, said);
        } else {
            let said = program.lines().last().map_or("", String::as_str);
            vm.results
                .not_ok(&format!("{part}: the program ends"), said);
            program.signal(nix::sys::signal::Signal::SIGKILL)?;
        }
        let stream = format!("v4l2-ctl -d {node} --stream-mmap --stream-count=1");
        vm.refuse(&format!("{part}: who opens it now is told, too"), &stream);
        let after = format!("/tmp/after-{part}.fwht");
        let encode = clients::fwht_encode(encoder, &after);
        self.check(&format!("{part}: another device works on"), &encode);
        let cmp = format!("cmp {CODED} {after}");
        vm.check(&format!("{part}: … and as before"), &cmp);
        Ok(())
    }
}

/// Three hundred buffers, each with the sequence number after the last one's.
fn no_gap(log: &str) -> Result<(), String> {
    let (mut count, mut last) = (0, None);
    for line in log.lines().filter(|line| line.contains("dqbuf")) {
        let number = line
            .rsplit("seq:")
            .next()
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else {
            return Err(format!("no sequence number: {line}"));
        };
        if let Some(last) = last
            && number != last + 1
        {
            return Err(format!("after {last} comes {number}"));
        }
        last = Some(number);
        count += 1;
    }
    if count == 300 {
        return Ok(());
    }
    let said = log.lines().last().unwrap_or_default();
    Err(format!("{count} buffers; {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(numbers: impl Iterator<Item = u32>) -> String {
        numbers
            .map(|number| format!("cap dqbuf: 3 seq: {number:6} bytesused: 9 ts: 1.5 (ok)\n"))
            .collect()
    }

    #[test]
    fn a_gap_is_found() {
        assert_eq!(no_gap(&log(7..307)), Ok(()));
        assert!(no_gap(&log(0..299)).is_err());
        let gap = no_gap(&log((0..150).chain(151..301)));
        assert_eq!(gap, Err("after 149 comes 151".to_owned()));
        assert!(no_gap("").is_err());
    }

    #[test]
    fn nodes_have_names() {
        let lines = ["/sys/class/video4linux/vbi0/name:vbi-cap".to_owned()];
        assert_eq!(nodes(&lines)["vbi-cap"], "/dev/vbi0");
    }
}
