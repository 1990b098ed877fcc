// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What Rust's test binaries print, as results of ours.

use std::collections::HashMap;

/// Lines that are shown of what a failed test has said.
const SHOWN: usize = 40;
/// How many of them stand before its first panic.
const BEFORE: usize = 10;
/// Columns of a line that is shown.
const COLUMNS: usize = 300;

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// As libtest has it, with ` - should panic` where that is so.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Ok,
    /// It failed.
    Failed {
        /// Its first panic, or else the last line that it said.
        reason: String,
        /// What it said around that.
        said: Vec<String>,
    },
}

impl Test {
    /// The result, and the lines that say why it is not ok.
    pub fn lines(&self) -> Vec<String> {
        match &self.outcome {
            Outcome::Ok => vec![format!("ok - {}", self.name)],
            Outcome::Failed { reason, said } => {
                let mut lines = vec![format!("not ok - {} # {reason}", self.name)];
                lines.extend(said.iter().map(|line| format!("| {line}")));
                lines
            }
        }
    }
}

/// The tests that have run, in their order. `log` may be of several binaries, which may have tests
/// of one name. An ignored test has not run.
pub fn tests(log: &str) -> Vec<Test> {
    let said = said(log);
    let mut tests = Vec::new();
    let mut binary = 0;
    for line in log.lines() {
        if begins_binary(line) {
            binary += 1;
        }
        let Some(rest) = line.strip_prefix("test ") else {
            continue;
        };
        let (name, outcome) = if let Some(name) = rest.strip_suffix(" ... ok") {
            (name, Outcome::Ok)
        } else if let Some(name) = rest.strip_suffix(" ... FAILED") {
            let key = (binary, name.strip_suffix(" - should panic").unwrap_or(name));
            let said = said.get(&key).map_or(&[][..], Vec::as_slice);
            (name, failed(said))
        } else {
            continue;
        };
        let name = name.to_owned();
        tests.push(Test { name, outcome });
    }
    tests
}

/// `running 7 tests`.
fn begins_binary(line: &str) -> bool {
    let count = line.strip_prefix("running ").and_then(|rest| {
        rest.strip_suffix(" tests")
            .or_else(|| rest.strip_suffix(" test"))
    });
    count.is_some_and(|count| count.parse::<u32>().is_ok())
}

/// What each test has said, by the number of its binary and its name. Without the sources of the
/// standard library, which are not here.
fn said(log: &str) -> HashMap<(u32, &str), Vec<String>> {
    let mut said = HashMap::<_, Vec<String>>::new();
    let (mut binary, mut test) = (0, None);
    for line in log.lines() {
        let section = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"));
        if begins_binary(line) {
            binary += 1;
        }
        if let Some(name) = section {
            test = Some((binary, name));
        } else if line == "failures:" || line.starts_with("test result: ") {
            test = None;
        } else if let Some(test) = test
            && !line.trim_start_matches(' ').starts_with("at /rustc/")
        {
            let line = line.chars().take(COLUMNS).collect();
            said.entry(test).or_default().push(line);
        }
    }
    said
}

fn failed(said: &[String]) -> Outcome {
    let end = said
        .iter()
        .rposition(|line| !line.is_empty())
        .map_or(0, |last| last + 1);
    let panic = said.iter().position(|line| line.contains(" panicked at "));
    let (reason, first) = match panic {
        Some(panic) => {
            let place = said[panic].rsplit(" panicked at ").next();
            let message = said.get(panic + 1).map_or("", String::as_str);
            let reason = format!("{} {message}", place.unwrap_or_default());
            (reason, panic.saturating_sub(BEFORE))
        }
        None => (
            said[..end].last().cloned().unwrap_or_default(),
            end.saturating_sub(SHOWN),
        ),
    };
    let said = said[..end].iter().skip(first).take(SHOWN).cloned();
    Outcome::Failed {
        reason,
        said: said.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two binaries, each with a test of the same name; a panic and an error.
    const LOG: &str = "running 2 tests
test a::good ... ok
test a::same ... FAILED

failures:

---- a::same stdout ----
before

thread 'a::same' (7) panicked at src/a.rs:5:9:
they differ
             at /rustc/0/library/core/src/panicking.rs:1:1

failures:
    a::same

test result: FAILED. 1 passed; 1 failed

running 1 test
test a::same ... FAILED
test a::later ... ignored

failures:

---- a::same stdout ----
Error: \"no such thing\"

test result: FAILED. 0 passed; 1 failed
";

    fn lines(log: &str) -> Vec<String> {
        tests(log).iter().flat_map(Test::lines).collect()
    }

    #[test]
    fn a_failure_has_its_reason() {
        assert_eq!(
            lines(LOG),
            [
                "ok - a::good",
                "not ok - a::same # src/a.rs:5:9: they differ",
                "| before",
                "| ",
                "| thread 'a::same' (7) panicked at src/a.rs:5:9:",
                "| they differ",
                "not ok - a::same # Error: \"no such thing\"",
                "| Error: \"no such thing\"",
            ]
        );
    }

    #[test]
    fn forty_lines_around_the_first_panic_are_shown() {
        let before = "x\n".repeat(20);
        let after = "y\n".repeat(60);
        let log = format!(
            "running 1 test\ntest a - should panic ... FAILED\n---- a stdout ----\n{before}\
             thread 'a' panicked at src/a.rs:1:1:\nno\n{after}thread 'a' panicked at b\n"
        );
        let lines = lines(&log);
        assert_eq!(lines[0], "not ok - a - should panic # src/a.rs:1:1: no");
        assert_eq!(lines.len(), 1 + SHOWN);
        assert_eq!(lines.iter().filter(|line| *line == "| x").count(), BEFORE);
    }

    #[test]
    fn a_failure_without_a_word_is_one() {
        let log = "running 1 test\ntest a ... FAILED\n";
        assert_eq!(lines(log), ["not ok - a # "]);
    }
}
