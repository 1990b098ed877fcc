// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What careless, unlucky and hostile programs do to the driver.

use std::time::{Duration, SystemTime};

use e2e::fixtures::Size;
use e2e::{TestVm, programs};
use nix::sys::signal::Signal;

/// How many sessions are opened to see what one costs.
const SESSIONS: u64 = 100;
/// Status of a program that SIGKILL ended.
const KILLED: i32 = 128 + Signal::SIGKILL as i32;

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    for test in ["bad-requests", "blocked-dqbuf", "opens", "abandon"] {
        vm.client(test);
    }
    killed_in_dqbuf(vm);
    killed_in_mid_stream(vm);
    two_at_once(vm);
    sessions_are_accounted(vm);
    let gone = vm.within(5, "rmmod virtio_v4l2");
    vm.results
        .verdict("rmmod after all this", gone, "not within 5 s");
    vm.dmesg_clean("no kernel warning from insmod to rmmod", &[]);
}

/// Encodes sixty frames of 640x360 to `/out/STREAM`.
fn encode(stream: &str) -> String {
    let options = "--stream-mmap --stream-out-mmap";
    programs::v4l2_ctl(Size::new(640, 360), options, stream)
}

fn killed_in_dqbuf(vm: &TestVm) {
    let mut client = vm.spawn("exec /job/client hold");
    assert!(client.says(10, "ready").unwrap(), "a program streams");
    vm.refuse("rmmod with a program blocked in DQBUF", "rmmod virtio_v4l2");
    client.signal(Signal::SIGKILL).unwrap();
    let ended = client.ends(5).unwrap();
    vm.results.verdict(
        "SIGKILL ends a program blocked in DQBUF",
        ended,
        "it is still there after 5 s",
    );
}

fn killed_in_mid_stream(vm: &TestVm) {
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let program = vm.spawn(&format!("exec {} --stream-loop", encode("killed.h264")));
        std::thread::sleep(some_time());
        program.signal(Signal::SIGKILL).unwrap();
        statuses.push(program.wait(10).unwrap().status);
    }
    vm.results.verdict(
        "five programs killed in mid-stream",
        statuses == [KILLED; 5],
        &format!("they end with {statuses:?}"),
    );
}

/// From 0.2 to 0.9 s: each run kills at other moments.
fn some_time() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let random = now.unwrap_or_default().subsec_micros() % 700;
    Duration::from_millis(u64::from(200 + random))
}

fn two_at_once(vm: &TestVm) {
    let first = vm.spawn(&encode("a.h264"));
    let second = vm.run(&encode("b.h264"));
    let first = first.wait(60).unwrap();
    vm.results.verdict(
        "two programs at once",
        first.success() && second.success(),
        &format!("status {} and {}", first.status, second.status),
    );
    vm.check("they got the same stream", "cmp /out/a.h264 /out/b.h264");
}

/// What programs make the driver allocate counts against them.
fn sessions_are_accounted(vm: &TestVm) {
    let name = "sessions count against the memory of their program";
    for command in [
        "mkdir -p /tmp/cgroup",
        "mount -t cgroup2 none /tmp/cgroup",
        "echo +memory >/tmp/cgroup/cgroup.subtree_control",
        "mkdir /tmp/cgroup/client",
    ] {
        let output = vm.run(command);
        if !output.success() {
            vm.results
                .not_ok(name, &format!("{command}: {}", output.last()));
            return;
        }
    }
    let statistics = "cat /tmp/cgroup/client/memory.stat";
    let output = vm.run(&format!(
        "echo $BASHPID >/tmp/cgroup/client/cgroup.procs && {statistics} && \
         for fd in {{100..199}}; do eval \"exec $fd<>/dev/video0\" || exit; done && {statistics}"
    ));
    let bytes: Vec<u64> = output
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("kernel ")?.parse().ok())
        .collect();
    let each = match bytes[..] {
        [before, after] if output.success() => after.saturating_sub(before) / SESSIONS,
        _ => 0,
    };
    let reason = format!(
        "{each} bytes of the kernel's for each session: {}",
        output.last()
    );
    vm.results.verdict(name, each > 2048, &reason);
}
