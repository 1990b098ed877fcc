// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Results: one line each on standard error, which `cargo xtask test` counts.
//!
//! `ok - NAME`, `not ok - NAME # REASON`, `skip - NAME # REASON`; lines that begin with `| ` say
//! why the last one is not ok, lines that begin with `# ` are remarks.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::guest::Output;

/// Columns of a reason, and of a line of a log that is shown.
const COLUMNS: usize = 300;

/// The results of one suite, which stands before each name. Clones count together.
#[derive(Clone, Debug)]
pub struct Results {
    suite: String,
    failed: Arc<AtomicUsize>,
    /// What is not told yet, if it is not told at once.
    held: Option<Arc<Mutex<Vec<String>>>>,
}

impl Results {
    /// No result yet.
    pub fn new(suite: &str) -> Self {
        Self {
            suite: suite.to_owned(),
            failed: Arc::default(),
            held: None,
        }
    }

    /// Results that are not told before [`release`](Self::release): what is begun again must not
    /// count twice.
    pub fn held() -> Self {
        Self {
            held: Some(Arc::default()),
            ..Self::new("")
        }
    }

    /// Makes what was held results of `to`.
    pub fn release(&self, to: &Self) {
        let Some(held) = &self.held else { return };
        let lines = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
        for line in lines {
            to.line(&line);
        }
    }

    /// The same results with another name before theirs.
    pub fn named(&self, suite: &str) -> Self {
        Self {
            suite: suite.to_owned(),
            ..self.clone()
        }
    }

    /// The name of the suite.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// How many are not ok.
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    /// Tells a line.
    fn tell(&self, line: String) {
        match &self.held {
            Some(held) => held
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line),
            None => eprintln!("{line}"),
        }
    }

    /// The name of a result, with that of the suite if it has one.
    fn full(&self, name: &str) -> String {
        if self.suite.is_empty() {
            name.to_owned()
        } else {
            format!("{}: {name}", self.suite)
        }
    }

    /// `name` is as it should be.
    pub fn ok(&self, name: &str) {
        self.tell(format!("ok - {}", self.full(name)));
    }

    /// `name` is not as it should be.
    pub fn not_ok(&self, name: &str, reason: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let reason = one_line(reason);
        self.tell(format!("not ok - {} # {reason}", self.full(name)));
    }

    /// `name` was not tried.
    pub fn skip(&self, name: &str, reason: &str) {
        self.tell(format!("skip - {} # {reason}", self.full(name)));
    }

    /// `name` is as it should be if `good`. Returns `good`.
    pub fn verdict(&self, name: &str, good: bool, reason: &str) -> bool {
        if good {
            self.ok(name);
        } else {
            self.not_ok(name, reason);
        }
        good
    }

    /// `name` is as it should be if a command succeeded. Its output is the reason if not.
    pub fn command(&self, name: &str, output: &Output) -> bool {
        let reason = format!("status {}: {}", output.status, output.last());
        if !self.verdict(name, output.success(), &reason) && output.lines.len() > 1 {
            self.excerpt(&output.lines, 40);
        }
        output.success()
    }

    /// Runs `test`. That it panics is a failure with this name.
    pub fn to_its_end(&self, name: &str, test: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(test)) {
            self.not_ok(name, &message(&*panic));
        }
    }

    /// Whether `line` is a result of a program's own; if so it is one of ours, too.
    pub fn line(&self, line: &str) -> bool {
        if let Some(name) = line.strip_prefix("ok - ") {
            self.ok(name);
        } else if let Some(rest) = line.strip_prefix("not ok - ") {
            let (name, reason) = rest.split_once(" # ").unwrap_or((rest, ""));
            self.not_ok(name, reason);
        } else if let Some(rest) = line.strip_prefix("skip - ") {
            let (name, reason) = rest.split_once(" # ").unwrap_or((rest, ""));
            self.skip(name, reason);
        } else if line.starts_with("| ") || line.starts_with("# ") {
            self.tell(line.to_owned());
        } else {
            return false;
        }
        true
    }

    /// A remark.
    pub fn remark(&self, text: &str) {
        self.tell(format!("# {text}"));
    }

    /// Shows the last `count` lines of a log, as the reason why the last result is not ok.
    pub fn excerpt<S: AsRef<str>>(&self, lines: &[S], count: usize) {
        for line in last(lines, count) {
            self.tell(line);
        }
    }
}

/// What a panic has said.
pub fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked")
        .to_owned()
}

/// A remark.
pub fn remark(text: &str) {
    eprintln!("# {text}");
}

fn one_line(text: &str) -> String {
    let text = text.replace(['\n', '\t', '\r'], " ");
    text.chars().take(COLUMNS).collect()
}

/// The last `count` lines of a log, as a failure shows them.
pub fn last<S: AsRef<str>>(lines: &[S], count: usize) -> impl Iterator<Item = String> {
    let first = lines.len().saturating_sub(count);
    lines[first..].iter().map(|line| {
        let clean = line.as_ref().chars().filter(|c| !c.is_control());
        format!("| {}", clean.take(COLUMNS).collect::<String>())
    })
}

/// Shows the last `count` lines of a log.
pub fn excerpt<S: AsRef<str>>(lines: &[S], count: usize) {
    for line in last(lines, count) {
        eprintln!("{line}");
    }
}

/// Shows the last `count` lines of a file, with its name; nothing if it is empty or not there.
pub fn excerpt_of(file: &Path, count: usize) {
    let Ok(text) = std::fs::read(file) else {
        return;
    };
    if !text.is_empty() {
        eprintln!("| the end of {}:", file.display());
        let text = String::from_utf8_lossy(&text);
        excerpt(&text.lines().collect::<Vec<_>>(), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_when_it_is_released() {
        let (held, results) = (Results::held(), Results::held().named("suite"));
        held.ok("one");
        held.not_ok("two", "three\nfour");
        held.excerpt(&["a\u{1b}", "b\r", "not ok - c"], 2);
        held.remark("five");
        assert_eq!(results.failed(), 0);
        held.release(&results);
        held.release(&results);
        assert_eq!(results.failed(), 1);
        let told = results.held.unwrap();
        assert_eq!(
            *told.lock().unwrap(),
            [
                "ok - suite: one",
                "not ok - suite: two # three four",
                "| b",
                "| not ok - c",
                "# five"
            ]
        );
    }
}
