// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a frame costs, in counts, with encoders behind the device that encode nothing: a short
//! version of `make bench`, which judges with an encoder, too.

use std::time::{Duration, Instant};

use e2e::counters::{Answerer, Notes, Window, windows};
use e2e::fixtures::{example, program};
use e2e::{Results, Spec, TestVm, suite};

/// How long a case has, in seconds.
const LIMIT: u32 = 60;
/// Calls of the daemon that are seen as strace comes and goes.
const STRACE: u64 = 40;

#[test]
fn counts() {
    let spec = Spec {
        daemon: example("sink-device"),
        files: vec![program("bench")],
        ..Spec::default()
    };
    suite("counts", &spec, checks);
}

fn checks(vm: &mut TestVm) {
    for memory in ["mmap", "userptr", "dmabuf"] {
        for depth in [1, 4] {
            stream(vm, memory, depth);
        }
    }
    vm.check_within("rmmod", 10, "rmmod virtio_v4l2");
    vm.dmesg_clean("no kernel warning from insmod to rmmod", &[]);
    let windows = windows(&vm.out().join("bench.jsonl")).unwrap();
    let notes = Notes::of(vm.out());
    for memory in ["mmap", "userptr", "dmabuf"] {
        for depth in [1, 4] {
            judge(&vm.results, &windows, &notes, memory, depth);
        }
    }
}

fn stream(vm: &TestVm, memory: &str, depth: u32) {
    let case = format!("label={memory}-{depth} memory={memory} depth={depth}");
    let daemon = vm.daemon();
    let mut answers = Answerer::new(vm.out(), daemon.pid(), daemon.log_file()).unwrap();
    let mut client = vm.spawn(&format!("/job/bench {case} frames=400 trace=1"));
    let deadline = Instant::now() + Duration::from_secs(LIMIT.into());
    answers
        .until(|| {
            while client.next_line(Instant::now()).unwrap().is_some() {}
            !client.running() || Instant::now() >= deadline
        })
        .unwrap();
    let output = client.wait(0).unwrap();
    vm.results
        .command(&format!("{memory}, depth {depth}: streams"), &output);
}

/// What was counted in the long window.
fn judge(results: &Results, windows: &[Window], notes: &Notes, memory: &str, depth: u32) {
    let label = format!("{memory}-{depth}");
    let long = |window: &&Window| window.label == label && window.window == "long";
    let window = windows.iter().find(long);
    let guest = |key: &str| window.and_then(|window| window.count(key));
    let daemon = |key: &str| notes.grown(&label, key);
    let frames = window.map_or(0, |window| window.frames);
    let verdict = |what: &str, good: bool, reason: &str| {
        results.verdict(&format!("{memory} depth {depth}: {what}"), good, reason);
    };
    let equal = |what: &str, count: Option<u64>, wanted: Option<u64>| {
        let reason = format!("{} instead of {}", text(count), text(wanted));
        verdict(what, count.is_some() && count == wanted, &reason);
    };
    // What was not counted has failed.
    let at_most = |what: &str, count: Option<u64>, limit: f64| {
        #[expect(clippy::cast_precision_loss, reason = "they are small")]
        let good = count.is_some_and(|count| count as f64 <= limit * frames as f64);
        let reason = format!("{} for {frames} frames", text(count));
        verdict(&format!("{what}: at most {limit} a frame"), good, &reason);
    };

    let frames = window.map(|window| window.frames);
    equal(
        "the daemon counted as many frames",
        daemon("frames"),
        frames,
    );
    equal("no call waits for the device", guest("calls"), Some(0));
    let kicks = guest("kicks_command").and_then(|count| Some(count + guest("kicks_event")?));
    at_most("kicks", kicks, if depth == 1 { 1.5 } else { 1.0 });
    at_most("interrupts", guest("interrupts"), 1.0);
    equal("the driver copies nothing", guest("bytes_copied"), Some(0));
    equal("the driver pins nothing", guest("pins"), Some(0));
    equal("the driver attaches nothing", guest("attaches"), Some(0));
    let raw = daemon("raw_bytes_copied");
    equal("the daemon copies no raw frame", raw, Some(0));
    let coded = daemon("coded_bytes_copied");
    equal(
        "the daemon copies a coded frame once",
        coded,
        guest("coded_bytes"),
    );
    for key in ["maps", "unmaps", "udmabufs"] {
        equal(&format!("the daemon makes no {key}"), daemon(key), Some(0));
    }
    let calls = notes.number(&label, "strace");
    let calls = calls.map(|calls| calls.saturating_sub(STRACE));
    at_most("the daemon's system calls", calls, 4.0);
}

fn text(count: Option<u64>) -> String {
    count.map_or("no count".to_owned(), |count| count.to_string())
}
