// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Results of a run: printed as they come, counted, and those that matter shown again at the end.
//!
//! The lines are those of [`e2e::results`].

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use e2e::results;

/// Lines of failures that are shown again at the end.
const SHOWN_AGAIN: usize = 400;
/// Lines of a log that a failure shows.
const EXCERPT: usize = 40;

/// The results so far.
pub struct Tally {
    logs: PathBuf,
    file: File,
    passed: usize,
    failed: usize,
    skipped: Vec<String>,
    failures: Vec<String>,
}

impl Tally {
    /// No result yet; logs go to the directory `logs`, which is emptied.
    pub fn new(logs: &Path) -> Result<Self> {
        if logs.exists() {
            fs::remove_dir_all(logs)?;
        }
        fs::create_dir_all(logs)?;
        Ok(Self {
            logs: logs.to_owned(),
            file: File::create(logs.join("results"))?,
            passed: 0,
            failed: 0,
            skipped: Vec::new(),
            failures: Vec::new(),
        })
    }

    /// Where logs go.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// How many have failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Prints and counts a line, if it is a result, a reason or a remark. Whether it is.
    pub fn hear(&mut self, line: &str) -> bool {
        let counted = self.count(line);
        if counted {
            println!("{line}");
        }
        counted
    }

    /// Counts a line without printing it.
    pub fn count(&mut self, line: &str) -> bool {
        if line.starts_with("ok - ") {
            self.passed += 1;
        } else if line.starts_with("not ok - ") {
            self.failed += 1;
            self.failures.push(line.to_owned());
        } else if line.starts_with("skip - ") {
            self.skipped.push(line.to_owned());
        } else if line.starts_with("| ") {
            self.failures.push(line.to_owned());
        } else if !line.starts_with("# ") {
            return false;
        }
        // A disk that is full does not keep the tests from running.
        let _ = writeln!(self.file, "{line}");
        true
    }

    /// `name` is as it should be.
    pub fn ok(&mut self, name: &str) {
        self.hear(&format!("ok - {name}"));
    }

    /// `name` was not tried.
    pub fn skip(&mut self, name: &str, reason: &str) {
        self.hear(&format!("skip - {name} # {reason}"));
    }

    /// `name` is not as it should be; the end of `log` says why.
    pub fn not_ok(&mut self, name: &str, reason: &str, log: &str) {
        self.hear(&format!("not ok - {name} # {reason}"));
        let lines: Vec<&str> = log.lines().collect();
        for line in results::last(&lines, EXCERPT) {
            self.hear(&line);
        }
    }

    /// The log of the check `name`.
    pub fn log(&self, name: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        self.logs.join(format!(
            "{}.log",
            name.chars().map(plain).collect::<String>()
        ))
    }

    /// `name` is as it should be if `check` says so; it writes to the log that it is given.
    pub fn check(&mut self, name: &str, check: impl FnOnce(&mut File) -> Result<bool>) -> bool {
        let (path, start) = (self.log(name), Instant::now());
        let verdict = File::create(&path)
            .map_err(Into::into)
            .and_then(|mut log| check(&mut log));
        let said = fs::read(&path).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        match verdict {
            Ok(true) => self.ok(&format!("{name} ({} s)", start.elapsed().as_secs())),
            Ok(false) => self.not_ok(name, &format!("see {}", path.display()), &said),
            Err(ref error) => self.not_ok(name, &format!("{error:#}"), &said),
        }
        matches!(verdict, Ok(true))
    }

    /// `name` is as it should be if `command` succeeds.
    pub fn command(&mut self, name: &str, command: &mut Command) -> bool {
        self.check(name, |log| run(command, log))
    }

    /// Runs a program that prints results to its standard error; they are ours. All that it says
    /// goes to the log `name`. Returns whether it succeeded.
    pub fn program(&mut self, name: &str, command: &mut Command) -> Result<bool> {
        let path = self.log(name);
        let mut log = File::create(&path)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} is missing", command.get_program().display()))?;
        let lines = child.stderr.take().context("no standard error")?;
        for line in BufReader::new(lines).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            writeln!(log, "{line}")?;
            if !self.hear(&line) && line.starts_with("[vm] ") {
                println!("{line}");
            }
        }
        Ok(child.wait()?.success())
    }

    /// Shows what was not ok and what was skipped again: the end of a long output is what is read
    /// first. Returns whether all is well; a run that tested nothing has not passed.
    pub fn end(self) -> bool {
        println!();
        for line in self.failures.iter().take(SHOWN_AGAIN) {
            println!("{line}");
        }
        for line in &self.skipped {
            println!("{line}");
        }
        for line in self
            .failures
            .iter()
            .filter(|line| line.starts_with("not ok - "))
        {
            println!("{line}");
        }
        let failed = self.failed + usize::from(self.passed + self.failed == 0);
        println!(
            "{} passed, {failed} failed, {} skipped",
            self.passed,
            self.skipped.len()
        );
        failed == 0
    }
}

/// Runs a command whose output goes to `log`. Whether it succeeded.
pub fn run(command: &mut Command, log: &File) -> Result<bool> {
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .status()
        .with_context(|| format!("{} is missing", command.get_program().display()))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn tally() -> (tempfile::TempDir, Tally) {
        let place = tempfile::tempdir().unwrap();
        let tally = Tally::new(&place.path().join("logs")).unwrap();
        (place, tally)
    }

    #[test]
    fn a_run_that_tested_nothing_fails() {
        let (_place, tally) = tally();
        assert!(!tally.end());
    }

    #[test]
    fn a_failure_shows_the_end_of_its_log() {
        let (_place, mut tally) = tally();
        assert!(tally.command("good", &mut Command::new("true")));
        let mut bad = Command::new("sh");
        assert!(!tally.command("bad", bad.args(["-c", "echo why; exit 3"])));
        assert_eq!(tally.failures[1..], ["| why"]);
        assert!(tally.failures[0].starts_with("not ok - bad # see "));
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert!(!tally.end());
    }

    #[test]
    fn a_program_s_results_count() {
        let (_place, mut tally) = tally();
        let says = "echo 'ok - a' >&2; echo 'not ok - b # c' >&2; echo 'skip - d # e' >&2; echo f";
        let good = tally
            .program("p", Command::new("sh").args(["-c", says]))
            .unwrap();
        assert!(good);
        assert_eq!((tally.passed, tally.failed, tally.skipped.len()), (1, 1, 1));
    }
}
