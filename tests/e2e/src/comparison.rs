// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What v4l2-compliance says of a node of the host, and of the same node in a guest, test by test.

use std::collections::{BTreeMap, HashMap};

use regex::Regex;

use crate::compliance::{Report, Test, Verdict};
use crate::results::Results;

/// Fewer tests than this are no run of v4l2-compliance.
const AT_LEAST: usize = 20;

/// Where the two may differ. `*` in `test` is any text; `None`: the test is not made. A failure
/// that only the guest has is never allowed.
struct Rule {
    test: &'static str,
    host: Option<Verdict>,
    guest: Option<Verdict>,
}

const RULES: [Rule; 4] = [
    // The protocol has no media controller.
    Rule {
        test: "Required ioctls/MC information",
        host: Some(Verdict::Ok),
        guest: None,
    },
    // The protocol has no read(2) and write(2).
    Rule {
        test: "Streaming ioctls/read/write",
        host: Some(Verdict::Ok),
        guest: Some(Verdict::NotSupported),
    },
    // Requests come with the media controller.
    Rule {
        test: "Buffer ioctls*/Requests",
        host: Some(Verdict::Ok),
        guest: Some(Verdict::NotSupported),
    },
    // The guest's driver writes counters of its own to the guest's kernel log.
    Rule {
        test: "Debug ioctls/VIDIOC_LOG_STATUS",
        host: Some(Verdict::NotSupported),
        guest: Some(Verdict::Ok),
    },
];

/// What comes above the rows.
pub const HEAD: &str = "                 |      host      |     guest      |
  node           |   ok  n/s fail |   ok  n/s fail | diff | not listed
";

/// What differs between two reports.
#[derive(Clone, Debug)]
pub struct Comparison {
    device: String,
    /// What may not differ: the test, and how it went.
    pub wrong: Vec<(String, String)>,
    /// How many tests differ.
    pub differences: usize,
    row: String,
}

impl Comparison {
    /// Compares the reports of `device`.
    pub fn new(device: &str, host: &Report, guest: &Report) -> Self {
        let (on_host, in_guest) = (by_key(host), by_key(guest));
        let mut wrong = Vec::new();
        let mut differences = 0;
        let only_guest = in_guest
            .order
            .iter()
            .filter(|key| !on_host.tests.contains_key(*key));
        for key in on_host.order.iter().chain(only_guest) {
            let (one, other) = (on_host.tests.get(key), in_guest.tests.get(key));
            let verdicts = (one.map(|test| test.verdict), other.map(|test| test.verdict));
            if verdicts.0 == verdicts.1 {
                continue;
            }
            differences += 1;
            if !allowed(key, verdicts.0, verdicts.1) {
                let failed = if verdicts.1 == Some(Verdict::Fail) {
                    other
                } else {
                    one
                };
                let why = failed.and_then(|test| test.reason.as_deref());
                let (host, guest) = (word(verdicts.0), word(verdicts.1));
                let reason = format!("host: {host}, guest: {guest} {}", why.unwrap_or_default());
                wrong.push((key.clone(), reason));
            }
        }
        let (count, other) = (host.tests.len(), guest.tests.len());
        if count < AT_LEAST || other < AT_LEAST {
            let reason = format!("{count} tests on the host, {other} in the guest");
            wrong.push(("v4l2-compliance runs on both".to_owned(), reason));
        }
        let row = format!(
            "| {device:<14} | {} | {} | {differences:4} | {:4} |",
            counts(host),
            counts(guest),
            wrong.len()
        );
        Self {
            device: device.to_owned(),
            wrong,
            differences,
            row,
        }
    }

    /// Tells the results.
    pub fn tell(&self, results: &Results) {
        for (test, reason) in &self.wrong {
            results.not_ok(&format!("{}: {test}", self.device), reason);
        }
        if self.wrong.is_empty() {
            results.ok(&format!(
                "{}: v4l2-compliance -s says in the guest what it says on the host",
                self.device
            ));
        }
    }

    /// A line of the table.
    pub fn row(&self) -> &str {
        &self.row
    }
}

fn counts(report: &Report) -> String {
    let count = |verdict| report.count(verdict);
    format!(
        "{:4} {:4} {:4}",
        count(Verdict::Ok),
        count(Verdict::NotSupported),
        count(Verdict::Fail)
    )
}

fn word(verdict: Option<Verdict>) -> String {
    verdict.map_or("absent".to_owned(), |verdict| verdict.to_string())
}

struct Keyed<'a> {
    order: Vec<String>,
    tests: BTreeMap<String, &'a Test>,
}

/// Tests by section and name, each of several with the same one by itself.
fn by_key(report: &Report) -> Keyed<'_> {
    // The node's number, and where else to look, are not the test's.
    let node = Regex::new("/dev/[a-z0-9-]+").ok();
    let see = Regex::new(r" \(see .*\)$").ok();
    let cut = |pattern: &Option<Regex>, text: &str, by: &str| match pattern {
        Some(pattern) => pattern.replace_all(text, by).into_owned(),
        None => text.to_owned(),
    };
    let mut seen = HashMap::<String, usize>::new();
    let (mut order, mut tests) = (Vec::new(), BTreeMap::new());
    for test in &report.tests {
        let name = cut(&see, &cut(&node, &test.name, "node"), "");
        let mut key = format!("{}/{name}", test.section);
        let times = seen.entry(key.clone()).or_default();
        key.push_str(&"+".repeat(*times));
        *times += 1;
        order.push(key.clone());
        tests.insert(key, test);
    }
    Keyed { order, tests }
}

fn allowed(key: &str, host: Option<Verdict>, guest: Option<Verdict>) -> bool {
    let matching =
        |rule: &Rule| (rule.host, rule.guest) == (host, guest) && matches(rule.test, key);
    guest != Some(Verdict::Fail) && RULES.iter().any(matching)
}

/// Whether `text` is `pattern`, in which `*` is any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            text.char_indices()
                .map(|(place, _)| &text[place..])
                .chain([""])
                .any(|text| matches(rest, text))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough tests of a node, with `more` in the end.
    fn report(node: &str, more: &str) -> Report {
        let mut log = String::from("Required ioctls:\n");
        for number in 0..AT_LEAST {
            log += &format!("\ttest {number}: OK\n");
        }
        log += &format!("Allow for multiple opens:\n\ttest second {node} open: OK\n");
        Report::parse(&(log + more))
    }

    fn compared(host: &str, guest: &str) -> Comparison {
        let (host, guest) = (report("/dev/video3", host), report("/dev/video0", guest));
        Comparison::new("camera", &host, &guest)
    }

    #[test]
    fn nodes_with_other_numbers_are_the_same() {
        let same = "Buffer ioctls (Input 0):\n\ttest Requests (see video1): FAIL\n";
        let compared = compared(same, "Buffer ioctls (Input 0):\n\ttest Requests: FAIL\n");
        assert_eq!((compared.differences, compared.wrong.len()), (0, 0));
        assert_eq!(
            compared.row(),
            "| camera         |   21    0    1 |   21    0    1 |    0 |    0 |"
        );
    }

    #[test]
    fn what_the_protocol_lacks_may_differ() {
        let compared = compared(
            "Buffer ioctls (Input 1):\n\ttest Requests: OK\nRequired ioctls:\n\ttest MC \
             information (see 'Media Driver Info' above): OK\n",
            "Buffer ioctls (Input 1):\n\ttest Requests: OK (Not Supported)\n",
        );
        assert_eq!((compared.differences, compared.wrong.len()), (2, 0));
    }

    #[test]
    fn a_failure_of_the_guest_is_wrong() {
        let compared = compared(
            "Streaming ioctls:\n\ttest read/write: OK\n\ttest MMAP: OK\n",
            "Streaming ioctls:\n\t\tfail: v4l2-test-buffers.cpp(1): no\n\ttest read/write: \
             FAIL\n\ttest MMAP: OK (Not Supported)\n",
        );
        assert_eq!(
            compared.wrong,
            [
                (
                    "Streaming ioctls/read/write".to_owned(),
                    "host: OK, guest: FAIL v4l2-test-buffers.cpp(1): no".to_owned()
                ),
                (
                    "Streaming ioctls/MMAP".to_owned(),
                    "host: OK, guest: not supported ".to_owned()
                )
            ]
        );
    }

    #[test]
    fn a_run_of_nothing_is_wrong() {
        let compared = Comparison::new("x", &Report::default(), &Report::default());
        assert_eq!(compared.wrong[0].0, "v4l2-compliance runs on both");
    }

    #[test]
    fn tests_of_one_name_are_compared_one_by_one() {
        let compared = compared(
            "Sub:\n\ttest a: OK\n\ttest a: OK\n",
            "Sub:\n\ttest a: OK\n\ttest a: FAIL\n",
        );
        assert_eq!(compared.wrong[0].0, "Sub/a+");
    }

    #[test]
    fn a_star_is_any_text() {
        assert!(matches(
            "Buffer ioctls*/Requests",
            "Buffer ioctls (Input 0)/Requests"
        ));
        assert!(matches("Buffer ioctls*/Requests", "Buffer ioctls/Requests"));
        assert!(!matches(
            "Buffer ioctls*/Requests",
            "Buffer ioctls/Requests+"
        ));
        assert!(!matches("a", "ab"));
    }
}
