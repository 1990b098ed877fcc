// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The daemon as a program: arguments, socket, signals, one VMM after the other.

mod common;

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::leaks::Holdings;
use common::program::{Running, command, program, socket};
use frontend::{Client, Options, PATIENCE};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use protocol::wire::ioctl;
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE, FmtDesc, MEMORY_MMAP,
    RequestBuffers,
};

/// A session that lists formats and has a buffer.
#[track_caller]
fn uses(client: &mut Client) {
    let session = client.open().unwrap();
    let mut desc = FmtDesc {
        type_: BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        ..FmtDesc::default()
    };
    client.ioctl(session, ioctl::ENUM_FMT, &mut desc).unwrap();
    assert_eq!(desc.pixelformat.to_le_bytes(), *b"NV12");
    let mut request = RequestBuffers {
        count: 2,
        type_: BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        memory: MEMORY_MMAP,
        ..RequestBuffers::default()
    };
    client.ioctl(session, ioctl::REQBUFS, &mut request).unwrap();
    assert!(request.count >= 2);
}

/// The vhost-user backend conventions: JSON with "type" and "features" on standard output.
#[test]
fn capabilities() {
    let output = command(&["--print-capabilities"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["type"].is_string());
    assert!(json["features"].is_array());
}

#[test]
fn help_and_version() {
    let output = command(&["--help"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for flag in [
        "--socket-path",
        "--fd",
        "--print-capabilities",
        "--device",
        "--encoder",
        "--log",
    ] {
        assert!(text.contains(flag), "{flag} is missing");
    }
    assert!(command(&["--version"]).output().unwrap().status.success());
}

/// Runs a command that is to fail, and gives what it says: a line or two for people.
#[track_caller]
fn complaint(args: &[&str]) -> String {
    let mut running = Running::start(command(args));
    let (status, log) = running.ended();
    assert!(!status.success(), "{args:?} is accepted");
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.trim().is_empty(), "{args:?} fails without a word");
    log
}

#[test]
fn bad_arguments() {
    let (_dir, path) = socket();
    let path = path.to_str().unwrap();
    for args in [
        &[][..],
        &["--nonsense"],
        &["--socket-path"],
        &["--socket-path", path, "--fd", "3"],
        &["--fd", "three"],
        &["--fd", "-1"],
        &["--fd", "77"],
        &["--fd", "1"],
        &["--socket-path", path, "--shm-size", "3G"],
        &["--socket-path", path, "--shm-size", "many"],
        &["--socket-path", path, "--max-sessions", "0"],
        &["--socket-path", path, "extra"],
    ] {
        complaint(args);
    }
    for (args, word) in [
        (["--device", "toaster"], "toaster"),
        (["--encoder", "h264"], "h264"),
        (["--encoder", "h264=nonesuchenc"], "nonesuchenc"),
        (["--encoder", "mpeg17=x264enc"], "mpeg17"),
        (["--device", "encoder,shape=round"], "shape"),
        (["--log", "=====,"], "="),
    ] {
        let log = complaint(&["--socket-path", path, args[0], args[1]]);
        assert!(log.contains(word), "{args:?}: {log}");
        assert!(log.trim().lines().count() <= 3, "{args:?}: {log}");
        assert!(!Path::new(path).exists(), "{args:?} leaves a socket behind");
    }
}

#[test]
fn places_where_no_socket_can_be() {
    let (dir, path) = socket();
    let missing = dir.path().join("no such folder/media.sock");
    let log = complaint(&["--socket-path", missing.to_str().unwrap()]);
    assert!(log.contains("no such folder"), "{log}");
    // A file of somebody's: neither used nor removed.
    std::fs::write(&path, "precious").unwrap();
    let log = complaint(&["--socket-path", path.to_str().unwrap()]);
    assert!(log.contains("media.sock"), "{log}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let long = dir.path().join("x".repeat(200));
    complaint(&["--socket-path", long.to_str().unwrap()]);
}

#[test]
fn a_socket_in_use() {
    let (_dir, path) = socket();
    let arg = path.to_str().unwrap();
    let mut first = Running::start(command(&["--socket-path", arg]));
    uses(&mut first.connect(&path));
    let log = complaint(&["--socket-path", arg]);
    assert!(log.contains("in use") && log.contains(arg), "{log}");
    // The first one is none the worse for it.
    uses(&mut first.connect(&path));
}

/// What a killed daemon left is no obstacle.
#[test]
fn a_stale_socket() {
    let (_dir, path) = socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut running = Running::start(command(&["--socket-path", path.to_str().unwrap()]));
    uses(&mut running.connect(&path));
}

/// One VMM after the other; what the last one had is given back.
#[test]
fn one_vmm_after_the_other() {
    let (_dir, path) = socket();
    let mut running = Running::start(command(&["--socket-path", path.to_str().unwrap()]));
    let pid = running.child.id().to_string();
    let mut before: Option<Holdings> = None;
    for round in 0..12 {
        let mut client = running.connect(&path);
        uses(&mut client);
        drop(client);
        // The next one is served when the last one's things are gone.
        drop(running.connect(&path));
        if round == 0 {
            // The first one fills what the process keeps for good.
            continue;
        }
        let deadline = Instant::now() + PATIENCE;
        let same = |before: &Holdings, now: &Holdings| {
            now.fds <= before.fds && now.shared_mappings <= before.shared_mappings
        };
        loop {
            let now = Holdings::of(&pid);
            if same(before.get_or_insert_with(|| now.clone()), &now) {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{before:?} became {now:?} in round {round}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Somebody connects and talks nonsense, or hangs up in the middle.
#[test]
fn a_frontend_of_no_use() {
    use std::io::Write;

    let (_dir, path) = socket();
    let mut running = Running::start(command(&["--socket-path", path.to_str().unwrap()]));
    drop(running.connect(&path));
    for bytes in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 12],
        &[0xff; 4096],
        &[1, 0, 0, 0, 1],
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        // The daemon may hang up first.
        let _ = stream.write_all(bytes);
        drop(stream);
        uses(&mut running.connect(&path));
    }
}

#[test]
fn signals_end_it() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // While nobody is connected, and while somebody is.
        for connected in [false, true] {
            let (_dir, path) = socket();
            let mut running = Running::start(command(&["--socket-path", path.to_str().unwrap()]));
            let mut client = running.connect(&path);
            uses(&mut client);
            let client = connected.then_some(client);
            kill(running.pid(), signal).unwrap();
            let (status, log) = running.ended();
            assert!(status.success(), "{signal}: {status}: {log}");
            assert!(!path.exists(), "{signal} leaves the socket behind");
            assert!(!log.contains("panicked"), "{log}");
            drop(client);
        }
    }
}

/// Passes `fd` on as descriptor 3.
fn with_fd(fd: OwnedFd, args: &[&str]) -> Command {
    let mut command = command(args);
    let raw = fd.as_raw_fd();
    // SAFETY: dup2 is async-signal-safe, and both numbers are numbers.
    unsafe {
        command.pre_exec(move || {
            let _keep = &fd;
            if libc::dup2(raw, 3) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            // dup2 onto itself leaves FD_CLOEXEC.
            if libc::fcntl(3, libc::F_SETFD, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command
}

#[test]
fn a_listening_socket_passed_on() {
    let (_dir, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let mut running = Running::start(with_fd(listener.into(), &["--fd", "3"]));
    for _ in 0..3 {
        uses(&mut running.connect(&path));
    }
    kill(running.pid(), Signal::SIGTERM).unwrap();
    assert!(running.ended().0.success());
    // Who made it removes it.
    assert!(path.exists());
}

/// As libvirt passes one end of a socketpair: served once.
#[test]
fn a_connected_socket_passed_on() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut running = Running::start(with_fd(theirs.into(), &["--fd", "3"]));
    let mut client = Client::new(ours, &Options::default()).unwrap();
    uses(&mut client);
    drop(client);
    let (status, log) = running.ended();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn something_else_passed_on() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut running = Running::start(with_fd(reader.into(), &["--fd", "3"]));
    let (status, log) = running.ended();
    assert!(!status.success());
    assert!(log.contains("socket"), "{log}");
}

/// The session limit is the guest's `open(2)` failing, not the daemon's end.
#[test]
fn the_limit_of_sessions() {
    let (_dir, path) = socket();
    let args = [
        "--socket-path",
        path.to_str().unwrap(),
        "--max-sessions",
        "3",
    ];
    let mut running = Running::start(command(&args));
    let mut client = running.connect(&path);
    let first = client.open().unwrap();
    client.open().unwrap();
    client.open().unwrap();
    assert_eq!(client.open(), Err(Errno::EMFILE));
    client.close(first);
    client.open().unwrap();
}

/// Several devices in one process, each with its own socket: they are served at one time, and go on
/// without each other.
#[test]
fn several_devices() {
    let (dir, first) = socket();
    let second = dir.path().join("second.sock");
    let device = |path: &Path| format!("encoder,card=one,socket={}", path.display());
    let (one, two) = (device(&first), device(&second));
    let mut running = Running::start(command(&["--device", &one, "--device", &two]));
    let mut here = running.connect(&first);
    let mut there = running.connect(&second);
    for _ in 0..2 {
        uses(&mut here);
        uses(&mut there);
    }
    drop(here);
    uses(&mut there);
    uses(&mut running.connect(&first));

    kill(running.pid(), Signal::SIGTERM).unwrap();
    let (status, log) = running.ended();
    assert!(status.success(), "{status}: {log}");
    assert!(!first.exists() && !second.exists(), "{log}");
    // Each line about a VMM says whose it is.
    let lines = log.lines().filter(|line| line.contains("VMM connected"));
    let of_second = lines.filter(|line| line.contains("second.sock")).count();
    assert_eq!(of_second, 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// A passed-on socket keeps its number, though the other device's is made.
#[test]
fn a_socket_passed_on_beside_one_that_is_made() {
    let (_dir, path) = socket();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let made = format!("encoder,socket={}", path.display());
    let args = ["--device", &made, "--device", "encoder,fd=3"];
    let mut running = Running::start(with_fd(theirs.into(), &args));
    let mut client = Client::new(ours, &Options::default()).unwrap();
    uses(&mut client);
    uses(&mut running.connect(&path));
    // One that is served once ends alone.
    drop(client);
    uses(&mut running.connect(&path));
    kill(running.pid(), Signal::SIGTERM).unwrap();
    assert!(running.ended().0.success());
}

#[test]
fn several_devices_that_cannot_be() {
    let (dir, path) = socket();
    let other = dir.path().join("other.sock");
    let (path, other) = (path.to_str().unwrap(), other.to_str().unwrap());
    let _in_use = UnixListener::bind(path).unwrap();
    let at = |path: &str| format!("encoder,socket={path}");
    let missing = format!("proxy,path=/dev/nonesuch,socket={other}");
    for (args, word) in [
        (
            &["--device", &at(other), "--device", &at(path)][..],
            "in use",
        ),
        (&["--device", &at(other), "--device", &at(other)], "two"),
        (&["--device", &at(other), "--device", "encoder"], "where"),
        (&["--device", &at(other), "--device", "encoder,fd=77"], "77"),
        (&["--device", &missing], "/dev/nonesuch"),
        (&["--socket-path", other, "--device", "proxy"], "path="),
        (
            &["--socket-path", other, "--device", "proxy,path=/dev/null"],
            "no V4L2 device",
        ),
        (
            &["--socket-path", other, "--device", "proxy,ioctls=FLY"],
            "FLY",
        ),
        (
            &["--socket-path", other, "--device", "proxy,colour=red"],
            "colour",
        ),
    ] {
        let log = complaint(args);
        assert!(log.contains(word), "{args:?}: {log}");
        assert!(log.trim().lines().count() <= 3, "{args:?}: {log}");
        assert!(
            !Path::new(other).exists(),
            "{args:?} leaves a socket behind"
        );
    }
}

/// What it logs names the session; nothing goes to standard output.
#[test]
fn the_log() {
    let (_dir, path) = socket();
    let args = ["--socket-path", path.to_str().unwrap(), "--log", "debug"];
    let mut command = command(&args);
    command.stdout(Stdio::piped());
    let mut running = Running::start(command);
    uses(&mut running.connect(&path));
    kill(running.pid(), Signal::SIGTERM).unwrap();
    let (_, log) = running.ended();
    assert!(log.contains("session=1"), "{log}");
    let mut out = String::new();
    let mut stdout = running.child.stdout.take().unwrap();
    stdout.read_to_string(&mut out).unwrap();
    assert_eq!(out, "");
}

/// A guest asks for more buffers than the daemon may have files: it is refused, and the daemon
/// lives.
#[test]
fn few_files() {
    use frontend::stream::{Settings, Stream};
    use protocol::wire::v4l2::Timeval;

    let (_dir, path) = socket();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 200 && exec \"$0\" --socket-path \"$1\""])
        .args([program(), &path]);
    let mut running = Running::start(command);
    for _ in 0..2 {
        let mut client = running.connect(&path);
        let mut sessions = Vec::new();
        // To the last file: by many, then one by one.
        for count in [32, 32, 32, 32, 32, 32, 32, 8, 4, 2, 1, 1, 1, 1, 1] {
            let session = client.open().unwrap();
            sessions.push(session);
            for type_ in [BUF_TYPE_VIDEO_OUTPUT_MPLANE, BUF_TYPE_VIDEO_CAPTURE_MPLANE] {
                let mut request = RequestBuffers {
                    count,
                    type_,
                    memory: MEMORY_MMAP,
                    ..RequestBuffers::default()
                };
                let result = client.ioctl(session, ioctl::REQBUFS, &mut request);
                let fine = matches!(result, Ok(()) | Err(Errno::ENOMEM | Errno::EMFILE));
                assert!(fine, "{result:?}");
            }
        }
        // What else needs files fails as well as it can, or works.
        let settings = Settings::h264(176, 144);
        for _ in 0..3 {
            if let Ok(stream) = Stream::start(&mut client, &settings) {
                stream.end(&mut client);
            }
        }
        for session in sessions {
            client.close(session);
        }
        let mut stream = Stream::start(&mut client, &settings).unwrap();
        let frame = vec![0x40; 176 * 144 * 3 / 2];
        let frames = [(&frame[..], Timeval::default()); 2];
        assert_eq!(stream.encode(&mut client, frames.into_iter()).len(), 2);
    }
    assert!(running.child.try_wait().unwrap().is_none());
}

/// Opens and closes a session so many times.
#[track_caller]
fn sessions(client: &mut Client, count: usize) {
    for _ in 0..count {
        let session = client.open().unwrap();
        client.close(session);
    }
}

/// What any program of a guest can cause does not fill the log.
#[test]
fn a_quiet_log() {
    let (_dir, path) = socket();
    let mut running = Running::start(command(&["--socket-path", path.to_str().unwrap()]));
    let mut client = running.connect(&path);
    sessions(&mut client, 500);
    drop(client);
    kill(running.pid(), Signal::SIGTERM).unwrap();
    let (_, log) = running.ended();
    // Each line that a session has in common with others at most a hundred times, and a few for the
    // daemon.
    let lines = log.lines().count();
    assert!(lines < 150, "{lines} lines:\n{log}");
    assert!(log.contains("stats: "), "{log}");
}

/// Standard error is a pipe that nobody reads, or that somebody reads later: commands are answered,
/// SIGTERM ends the daemon, and what was lost is counted.
#[test]
fn a_log_that_nobody_reads() {
    for read in [false, true] {
        let (_dir, path) = socket();
        let args = ["--socket-path", path.to_str().unwrap(), "--log", "debug"];
        let mut child = command(&args).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let mut running = Running { child, log: None };
        let mut client = running.connect(&path);
        sessions(&mut client, 3000);
        let log = read.then(|| {
            std::thread::spawn(move || {
                let mut text = String::new();
                let mut stderr = stderr;
                stderr.read_to_string(&mut text).unwrap();
                text
            })
        });
        if read {
            // With a reader there is space for lines again.
            std::thread::sleep(Duration::from_millis(200));
            sessions(&mut client, 10);
        }
        kill(running.pid(), Signal::SIGTERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while running.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(log) = log {
            let log = log.join().unwrap();
            let last = log.lines().rev().take(5).collect::<Vec<_>>();
            assert!(log.contains("lines of the log are lost"), "{last:?}");
            assert!(log.contains("stopping"), "{last:?}");
        }
    }
}

/// The process has no file for a VMM of the second device: it is served when there is one again.
#[test]
fn no_file_for_the_next_vmm() {
    let (dir, first) = socket();
    let second = dir.path().join("second.sock");
    let device = |path: &Path| format!("encoder,socket={}", path.display());
    let mut command = Command::new("sh");
    let script = "ulimit -n 120 && exec \"$0\" --shm-size 0 --device \"$1\" --device \"$2\"";
    command
        .args(["-c", script])
        .arg(program())
        .args([device(&first), device(&second)])
        .env_remove("RUST_LOG");
    let mut running = Running::start(command);
    let mut client = running.connect(&first);
    // Without an arena each buffer is a file: to the last one.
    for count in [32, 32, 32, 8, 4, 2, 1, 1, 1, 1, 1] {
        let session = client.open().unwrap();
        let request = (BUF_TYPE_VIDEO_CAPTURE_MPLANE, count, 1);
        let _ = client.reqbufs(session, request);
    }
    let waiting = UnixStream::connect(&second).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(client);
    uses(&mut Client::new(waiting, &Options::default()).unwrap());
    uses(&mut running.connect(&second));
    kill(running.pid(), Signal::SIGTERM).unwrap();
    let (status, log) = running.ended();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("cannot accept a VMM"), "{log}");
}
