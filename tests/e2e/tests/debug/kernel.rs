// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A machine with the debug kernel: suites one after the other, and what that kernel has to say in
//! the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::results::{excerpt, remark};
use e2e::suite::Suite;
use e2e::{Spec, TestVm, cache, kernel_log, splats};

/// Where the guest has debugfs.
pub const DEBUGFS: &str = "/sys/kernel/debug";
/// The kernel, of `tests/vm/debug/config`.
const KERNEL: &str = "7.2-debug";
/// Its programs take so many times as long.
const SLOW: u32 = 5;
/// How many lines of a splat's kind are shown.
const SHOWN: usize = 5;

/// A module of `tests/fence`, for the debug kernel.
pub fn module(name: &str) -> PathBuf {
    cache::repository().join("out/debug/fence").join(name)
}

/// A machine with the debug kernel, without our module.
pub fn machine() -> Spec {
    Spec {
        kernel: Some(KERNEL.to_owned()),
        ko: cache::repository().join("out/debug/module/virtio_v4l2.ko"),
        module: false,
        memory: "2G".to_owned(),
        kernel_args: "kasan_multi_shot no5lvl".to_owned(),
        slow: SLOW,
        ..Spec::default()
    }
}

/// Boots `machine`, has `suites` run in it, and looks at what its kernel says.
pub fn debug(name: &str, machine: &Spec, suites: impl FnOnce(&mut DebugVm<'_>)) {
    let suite = Suite::new(name);
    suite.run(machine, |vm| {
        let mut debug = DebugVm::begin(vm, name);
        suites(&mut debug);
        debug.end();
    });
    suite.end();
}

/// A guest with the debug kernel.
pub struct DebugVm<'a> {
    vm: &'a mut TestVm,
    name: &'a str,
}

impl<'a> DebugVm<'a> {
    /// What the kernel says from now on counts. What was lost before we came is not ours.
    fn begin(vm: &'a mut TestVm, name: &'a str) -> Self {
        for command in [
            "modprobe -a videodev mc virtio_dma_buf",
            // Before the time limits of the suites: who hangs is shown with a stack.
            "echo 30 >/proc/sys/kernel/hung_task_timeout_secs",
            &format!("echo scan >{DEBUGFS}/kmemleak"),
            &format!("echo clear >{DEBUGFS}/kmemleak"),
            "dmesg -C",
            ": >/out/kernel.log",
        ] {
            let output = vm.run_for(120, command);
            assert!(output.success(), "{command}: {}", output.text());
        }
        Self { vm, name }
    }

    /// Runs a suite with the module loaded.
    pub fn suite(&mut self, name: &str, parameters: &str, checks: impl FnOnce(&mut TestVm)) {
        self.without_module(name, |vm| {
            let insmod = "insmod /harness/virtio_v4l2.ko allow_id30=1";
            let output = vm.run(&format!("{insmod} {parameters}"));
            assert!(output.success(), "insmod: {}", output.text());
            vm.within(20, "test -c /dev/video0");
            checks(vm);
        });
    }

    /// Runs a suite that loads the module itself.
    pub fn without_module(&mut self, name: &str, checks: impl FnOnce(&mut TestVm)) {
        let start = Instant::now();
        self.vm.run("rmmod virtio_v4l2");
        self.keep_messages();
        let begin = kernel_log::BEGIN;
        self.vm.run(&format!("echo '<6>{begin}' >/dev/kmsg"));
        self.vm.set_suite(&format!("{}: {name}", self.name));
        let results = self.vm.results.clone();
        results.to_its_end("runs to its end", || checks(self.vm));
        self.vm.set_suite(self.name);
        remark(&format!("{name}: {} s", start.elapsed().as_secs()));
    }

    /// Moves the kernel's messages to a file: each suite has its own in the kernel's log.
    fn keep_messages(&self) {
        self.vm.run("dmesg -c >>/out/kernel.log");
    }

    /// What has been left behind. The first scan finds what was in use at the time of the last
    /// call, too.
    fn leaks(&self) -> Vec<String> {
        self.vm.run("rmmod virtio_v4l2");
        let scan = format!("echo scan >{DEBUGFS}/kmemleak");
        self.vm.run_for(120, &scan);
        std::thread::sleep(Duration::from_secs(6));
        self.vm.run_for(120, &scan);
        let output = self.vm.run(&format!("cat {DEBUGFS}/kmemleak"));
        assert!(output.success(), "kmemleak: {}", output.text());
        fs::write(self.vm.out().join("kmemleak.txt"), output.text()).unwrap();
        output.lines
    }

    fn end(self) {
        let results = &self.vm.results;
        self.keep_messages();
        let leaks = self.leaks();
        self.keep_messages();
        let log = fs::read(self.vm.out().join("kernel.log")).unwrap();
        let mut total = 0;
        for found in splats::find(&String::from_utf8_lossy(&log)).unwrap() {
            let count = found.lines.len();
            total += count;
            results.verdict(
                &format!("0 splats of {}", found.kind),
                count == 0,
                &format!("{count}"),
            );
            show(&found.lines);
        }
        // Lockdep and the check of the DMA API fall silent after their first finding.
        let lockdep = self.vm.run("cat /proc/lockdep_stats");
        let on = |line: &String| {
            let value = line.trim().strip_prefix("debug_locks:");
            value.is_some_and(|value| value.trim() == "1")
        };
        results.verdict(
            "lockdep is still on",
            lockdep.lines.iter().any(on),
            lockdep.last(),
        );
        let errors = self.vm.run(&format!("cat {DEBUGFS}/dma-api/error_count"));
        results.verdict(
            "the DMA API has counted no error",
            errors.lines == ["0"],
            errors.last(),
        );
        let count = splats::leaks(&leaks.join("\n"));
        let reason = format!("{count}, see kmemleak.txt");
        if !results.verdict("kmemleak: 0", count == 0, &reason) {
            excerpt(&leaks[..leaks.len().min(40)], 40);
        }
        remark(&format!("splats and leaks: {}", total + count));
    }
}

/// Shows some splats, each with how often it came.
fn show(lines: &[String]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        let text = line.split_once("] ").map_or(&**line, |(_, text)| text);
        *counts.entry(text).or_default() += 1;
    }
    for (text, count) in counts.iter().take(SHOWN) {
        remark(&format!("{count} {text}"));
    }
}
