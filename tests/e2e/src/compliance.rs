// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What v4l2-compliance says.

use std::fmt;
use std::fs;

use crate::results::Results;
use crate::vm::TestVm;

/// Runs v4l2-compliance in the guest with these options; what it says is in `vm.out()`, too, at
/// `log`.
///
/// # Panics
///
/// The log cannot be written.
pub fn run(vm: &TestVm, seconds: u32, options: &str, log: &str) -> Report {
    let text = vm
        .run_for(seconds, &format!("v4l2-compliance {options}"))
        .text();
    fs::write(vm.out().join(log), &text).unwrap_or_else(|error| panic!("{log}: {error}"));
    Report::parse(&text)
}

/// What a test says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The node does not offer it, and need not.
    NotSupported,
    /// Not as it should be.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::NotSupported => "not supported",
            Self::Fail => "FAIL",
        })
    }
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The heading that it stands under, without the colon: `Buffer ioctls (Input 0)`.
    pub section: String,
    /// Its name, for instance `VIDIOC_QUERYCAP`. Several may have the same.
    pub name: String,
    /// How it went.
    pub verdict: Verdict,
    /// The first reason that it gives for a failure, with the place in v4l2-compliance's source.
    pub reason: Option<String>,
}

/// The last line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// How many tests there were.
    pub tests: u32,
    /// Of them.
    pub failed: u32,
    /// How often it has warned.
    pub warnings: u32,
}

/// A log of v4l2-compliance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its tests, in their order. One that could not be made ("Cannot test") is not among them.
    pub tests: Vec<Test>,
    /// How many there were. `None`: it did not get to its end.
    pub total: Option<Total>,
    /// Its lines with a failure or a warning.
    pub complaints: Vec<String>,
}

impl Report {
    /// Reads a log, with or without progress and warnings in it.
    pub fn parse(text: &str) -> Self {
        let mut report = Self::default();
        let mut section = "";
        let mut reason = None;
        for line in text.lines() {
            // Progress is overwritten: what counts comes after the last carriage return.
            let line = line.trim_end_matches('\r');
            let line = line.rsplit('\r').next().unwrap_or(line);
            let words = line.trim();
            if ["fail:", "warn:", "FAIL"]
                .iter()
                .any(|word| words.contains(word))
            {
                report.complaints.push(words.to_owned());
            }
            if let Some(why) = words.strip_prefix("fail: ") {
                reason.get_or_insert(why.to_owned());
            } else if let Some((name, verdict)) = test(line) {
                report.tests.push(Test {
                    section: section.to_owned(),
                    name: name.to_owned(),
                    verdict,
                    reason: reason.take().filter(|_| verdict == Verdict::Fail),
                });
            } else if let Some(heading) = heading(line) {
                section = heading;
                reason = None;
            } else if let Some(total) = total(line) {
                report.total = Some(total);
            }
        }
        report
    }

    /// The tests of this name, in all sections.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Test> {
        self.tests.iter().filter(move |test| test.name == name)
    }

    /// Whether one of the tests that `wanted` chooses was made and found all as it should be.
    pub fn passed(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.tests
            .iter()
            .any(|test| wanted(&test.name) && test.verdict == Verdict::Ok)
    }

    /// How many tests have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        let with = self.tests.iter().filter(|test| test.verdict == verdict);
        with.count()
    }

    /// One result: nothing failed, and there was no warning.
    pub fn check(&self, results: &Results, name: &str) -> bool {
        let problem = self.problem();
        let reason = problem.as_deref().unwrap_or_default();
        results.verdict(name, problem.is_none(), reason)
    }

    /// Why the log does not say that nothing failed and nothing was warned of; `None` if it does.
    pub fn problem(&self) -> Option<String> {
        let Some(total) = self.total else {
            return Some("it did not get to its end".to_owned());
        };
        if total.failed == 0 && total.warnings == 0 && total.tests > 0 {
            return None;
        }
        let first = self.complaints.iter().take(4).cloned();
        Some(format!("{total}; {}", first.collect::<Vec<_>>().join("| ")))
    }

    /// Those of `required` that were not made or are not supported, each with a word about it.
    pub fn missing(&self, required: &[&str]) -> Vec<String> {
        let lacks = |name: &&str| {
            let unsupported = |test: &Test| test.verdict == Verdict::NotSupported;
            if self.named(name).next().is_none() {
                Some(format!("{name} (not run)"))
            } else if self.named(name).any(unsupported) {
                Some((*name).to_owned())
            } else {
                None
            }
        };
        required.iter().filter_map(lacks).collect()
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tests,
            failed,
            warnings,
        } = self;
        write!(f, "{tests} tests, Failed: {failed}, Warnings: {warnings}")
    }
}

/// `<tab>test NAME: VERDICT`.
fn test(line: &str) -> Option<(&str, Verdict)> {
    let rest = line.strip_prefix("\ttest ")?;
    [
        (": OK", Verdict::Ok),
        (": OK (Not Supported)", Verdict::NotSupported),
        (": FAIL", Verdict::Fail),
    ]
    .into_iter()
    .find_map(|(end, verdict)| Some((rest.strip_suffix(end)?, verdict)))
}

/// A line that is not indented and ends in a colon.
fn heading(line: &str) -> Option<&str> {
    let heading = line.strip_suffix(':')?;
    heading
        .starts_with(|c: char| c.is_ascii_uppercase())
        .then_some(heading)
}

/// `Total for NODE: 54, Succeeded: 54, Failed: 0, Warnings: 0`.
fn total(line: &str) -> Option<Total> {
    let (node, counts) = line.split_once(", Succeeded: ")?;
    let tests = node.starts_with("Total for ").then_some(node)?;
    let mut counts = counts.split(", ");
    counts.next()?;
    Some(Total {
        tests: tests.rsplit(' ').next()?.parse().ok()?,
        failed: counts.next()?.strip_prefix("Failed: ")?.parse().ok()?,
        warnings: counts.next()?.strip_prefix("Warnings: ")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "v4l2-compliance 1.30.1, 64 bits, 64-bit time_t

Compliance test for virtio_v4l2 device /dev/video0:

Required ioctls:
\ttest VIDIOC_QUERYCAP: OK

Allow for multiple opens:
\ttest second /dev/video0 open: OK
\ttest VIDIOC_QUERYCAP: OK

Control ioctls (Input 0):
\t\tfail: v4l2-test-controls.cpp(478): s_ctrl returned an error (5)
\t\tfail: v4l2-test-controls.cpp(500): and another
\ttest VIDIOC_G/S_CTRL: FAIL
\t\twarn: v4l2-test-controls.cpp(1139): no events
\ttest VIDIOC_G/S_JPEGCOMP: OK (Not Supported)

Streaming ioctls:
\tVideo Output: Frame #002 (select)\r\tVideo Output: Frame #003 (select)\r   \r\tCaptured 61 buffers
\ttest MMAP (select, REQBUFS): OK
\ttest DMABUF: Cannot test, specify --expbuf-device

Total for virtio_v4l2 device /dev/video0: 54, Succeeded: 53, Failed: 1, Warnings: 1
";

    #[test]
    fn a_log_is_sections_of_tests() {
        let report = Report::parse(LOG);
        let told: Vec<_> = report
            .tests
            .iter()
            .map(|test| (test.section.as_str(), test.name.as_str(), test.verdict))
            .collect();
        let controls = "Control ioctls (Input 0)";
        assert_eq!(
            told,
            [
                ("Required ioctls", "VIDIOC_QUERYCAP", Verdict::Ok),
                (
                    "Allow for multiple opens",
                    "second /dev/video0 open",
                    Verdict::Ok
                ),
                ("Allow for multiple opens", "VIDIOC_QUERYCAP", Verdict::Ok),
                (controls, "VIDIOC_G/S_CTRL", Verdict::Fail),
                (controls, "VIDIOC_G/S_JPEGCOMP", Verdict::NotSupported),
                ("Streaming ioctls", "MMAP (select, REQBUFS)", Verdict::Ok),
            ]
        );
        assert_eq!(report.named("VIDIOC_QUERYCAP").count(), 2);
        assert_eq!(report.count(Verdict::Ok), 4);
        assert!(report.passed(|name| name.starts_with("MMAP (")));
        assert!(!report.passed(|name| name.starts_with("DMABUF")));
    }

    #[test]
    fn a_failure_has_its_first_reason_and_no_other_test_has_one() {
        let report = Report::parse(LOG);
        let reasons: Vec<_> = report.tests.iter().map(|test| &test.reason).collect();
        let why = "v4l2-test-controls.cpp(478): s_ctrl returned an error (5)".to_owned();
        assert_eq!(*reasons[3], Some(why));
        assert_eq!(reasons.iter().filter(|reason| reason.is_some()).count(), 1);
        assert_eq!(report.complaints.len(), 4);
    }

    #[test]
    fn failures_and_warnings_are_a_problem() {
        let problem = Report::parse(LOG).problem().unwrap();
        let start = "54 tests, Failed: 1, Warnings: 1; fail: v4l2-test-controls.cpp(478)";
        assert!(problem.starts_with(start), "{problem}");
        let clean = LOG.replace("53, Failed: 1, Warnings: 1", "54, Failed: 0, Warnings: 0");
        assert_eq!(Report::parse(&clean).problem(), None);
        let warned = LOG.replace("53, Failed: 1, Warnings: 1", "54, Failed: 0, Warnings: 1");
        assert!(Report::parse(&warned).problem().is_some());
    }

    #[test]
    fn a_log_without_its_end_is_a_problem() {
        let cut = LOG.split("Total").next().unwrap();
        assert!(Report::parse(cut).problem().is_some());
        assert!(Report::parse("").problem().is_some());
    }

    #[test]
    fn what_is_required_is_run_and_supported() {
        let report = Report::parse(LOG);
        assert!(report.missing(&["VIDIOC_QUERYCAP"]).is_empty());
        assert_eq!(
            report.missing(&["VIDIOC_G/S_JPEGCOMP", "VIDIOC_QUERYCAP", "Cropping"]),
            ["VIDIOC_G/S_JPEGCOMP", "Cropping (not run)"]
        );
    }
}
