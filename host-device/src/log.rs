// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The log, on standard error.
//!
//! Logging never blocks: a thread of its own writes the lines, and if nobody reads them, lines are
//! lost and counted. Lines from one place in the code are rate-limited, so that no guest fills a
//! disk.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, poll};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Most lines that wait to be written.
const WAITING: usize = 4096;

/// Lines from one place that are written at once, and how long it takes until there may be one
/// more.
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_secs(1);

/// How long what is left may take at the end if nobody reads it.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Starts the log. `filter` stands before `RUST_LOG`, and that before `info`.
///
/// # Errors
///
/// `filter` is not one, or there is no thread for it.
pub fn start(filter: Option<&str>) -> anyhow::Result<Guard> {
    let directives = filter
        .map(str::to_owned)
        .or_else(|| std::env::var("RUST_LOG").ok())
        .filter(|directives| !directives.is_empty())
        .unwrap_or_else(|| "info".to_owned());
    // The guest can make it log an error for every kick.
    let quiet: Directive = "virtio_queue=off".parse().context("log filter")?;
    let filter = EnvFilter::builder()
        .parse(&directives)
        .map_err(|_| anyhow::anyhow!("--log: {directives:?} is no filter; try info or debug"))?
        .add_directive(quiet);
    let (lines, guard) = Lines::new(io::stderr(), WAITING).context("cannot start the log")?;
    let format = tracing_subscriber::fmt::layer()
        .with_writer(lines.clone())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry()
        .with(format)
        .with(Limit::new(lines))
        .with(filter)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    // What the standard library would say of a panic it writes itself, and waits.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(guard)
}

/// Says `text` on standard error, unless nobody reads that.
pub fn last_words(text: &str) {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let patience = u16::try_from(LAST_WORDS.as_millis()).unwrap_or(u16::MAX);
    if poll(&mut fds, patience).is_ok_and(|count| count > 0) {
        // Nobody is left to tell.
        let _ = writeln!(stderr.lock(), "{text}");
    }
}

/// Writes what is left of the log when it is dropped, if somebody reads it.
#[must_use]
pub struct Guard {
    lines: Lines,
    written: Receiver<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        while !self.lines.queue(None) {
            if Instant::now() > deadline {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // Not in time, or the thread is gone: that was all.
        let _ = self.written.recv_timeout(LAST_WORDS);
    }
}

/// What the thread gets: how many lines were lost before this one, and the line, or nothing at the
/// end.
type Message = (u64, Option<Vec<u8>>);

/// Takes lines; no call waits. Clones are handles of the same.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Message>,
    /// Lines that were lost since one was not.
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Lines are written to `out`, by a thread; at most so many wait.
    fn new(out: impl Write + Send + 'static, waiting: usize) -> io::Result<(Self, Guard)> {
        let (queue, receiver) = sync_channel(waiting);
        let (done, written) = sync_channel(1);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                write(&receiver, out);
                // Nobody may be waiting for that any more.
                let _ = done.try_send(());
            })?;
        let lines = Self {
            queue,
            lost: Arc::default(),
        };
        let guard = Guard {
            lines: lines.clone(),
            written,
        };
        Ok((lines, guard))
    }

    fn line(&self, line: Vec<u8>) {
        if !self.queue(Some(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// False if there is no room for it.
    fn queue(&self, line: Option<Vec<u8>>) -> bool {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let full = matches!(
            self.queue.try_send((lost, line)),
            Err(TrySendError::Full(_))
        );
        if full {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        !full
    }
}

/// Writes lines until the end comes, and how many were lost between them.
fn write(lines: &Receiver<Message>, mut out: impl Write) {
    for (lost, line) in lines {
        // There is nobody to tell if this cannot be written.
        if lost > 0 {
            let _ = writeln!(
                out,
                "{lost} lines of the log are lost: nobody read them in time"
            );
        }
        let Some(line) = line else { return };
        let _ = out.write_all(&line);
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What may still be said from one place.
#[derive(Debug)]
struct Bucket {
    left: u32,
    /// When the count was last right.
    at: Instant,
    left_out: u64,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            at: now,
            left_out: 0,
        }
    }

    /// Whether one more may be said. If so: how many were not since the last one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.at);
        let refill = u32::try_from(passed.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(refill).min(BURST);
        self.at = if self.left == BURST {
            now
        } else {
            self.at + REFILL * refill
        };
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Limits lines by where in the code they come from. Those that are asked for (`debug`, `trace`) it
/// lets pass.
struct Limit {
    buckets: Mutex<HashMap<Identifier, Bucket>>,
    lines: Lines,
}

impl Limit {
    fn new(lines: Lines) -> Self {
        Self {
            buckets: Mutex::default(),
            lines,
        }
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let now = Instant::now();
        let taken = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            let bucket = buckets.entry(event.metadata().callsite());
            bucket.or_insert_with(|| Bucket::new(now)).take(now)
        };
        match taken {
            None => false,
            Some(0) => true,
            Some(count) => {
                let note = format!("{count} lines like the next one were left out\n");
                self.lines.line(note.into_bytes());
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Sender;

    /// A reader that begins to read when its other end is dropped.
    struct Late {
        begin: Receiver<()>,
        read: Arc<Mutex<String>>,
    }

    impl Write for Late {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begin.recv();
            let text = std::str::from_utf8(bytes).unwrap();
            self.read.lock().unwrap().push_str(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_lost_and_counted() {
        let (begin, wait): (Sender<()>, _) = std::sync::mpsc::channel();
        let read = Arc::new(Mutex::new(String::new()));
        let late = Late {
            begin: wait,
            read: Arc::clone(&read),
        };
        let (lines, guard) = Lines::new(late, 4).unwrap();
        for number in 0..100 {
            lines.line(format!("line {number}\n").into_bytes());
        }
        drop(begin);
        drop(guard);
        let read = read.lock().unwrap();
        let written = read
            .lines()
            .filter(|line| line.starts_with("line "))
            .count();
        let lost: usize = read
            .lines()
            .filter_map(|line| line.split_once(" lines of the log are lost"))
            .map(|(count, _)| count.parse::<usize>().unwrap())
            .sum();
        // Four wait, and one may be at the reader.
        assert!(written == 4 || written == 5, "{read}");
        assert_eq!(lost, 100 - written, "{read}");
        assert!(read.starts_with("line 0\n"), "{read}");
    }

    #[test]
    fn so_many_at_once_and_then_by_the_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        for _ in 0..BURST {
            assert_eq!(bucket.take(start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(bucket.take(start + REFILL / 2), None);
        }
        assert_eq!(bucket.take(start + REFILL * 3 / 2), Some(7));
        assert_eq!(bucket.take(start + REFILL * 3 / 2), None);
        // Half of the second that has begun counts.
        assert_eq!(bucket.take(start + REFILL * 2), Some(1));
        let later = start + REFILL * 1000;
        for _ in 0..BURST {
            assert_eq!(bucket.take(later), Some(0));
        }
        assert_eq!(bucket.take(later), None);
    }
}
