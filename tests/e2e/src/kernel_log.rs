// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the guest's kernel has complained about.

use regex::Regex;

/// What init writes to the kernel's log before it loads the module.
pub const BEGIN: &str = "virtio-v4l2 harness: begin";

/// What every out-of-tree module causes.
const ALWAYS: [&str; 2] = [
    "loading out-of-tree module taints kernel",
    "module verification failed",
];

/// What a VM in a VM may say besides: an emulated CPU's clock may stand still for long.
pub const SLOW_CLOCK: [&str; 2] = ["hrtimer: interrupt took", "workqueue: .* hogged CPU"];

/// What the driver says of a device that does not answer.
pub const SILENT_DEVICE: &str =
    "virtio_v4l2.*(timeout|timed out|no answer|not answer|broken|lost|silent)";

/// What the driver says of a device that lies.
pub const BAD_DEVICE: &str = "virtio_v4l2.*(bad device|timed out|answer|lost|broken|suppressed|\
                              the device ended it)";

/// Messages of level warning and worse since [`BEGIN`] that match none of `allowed`. `log` is what
/// `dmesg --decode` prints.
///
/// # Errors
///
/// The log has lost its beginning.
pub fn warnings(log: &[String], allowed: &[&str]) -> Result<Vec<String>, String> {
    let begin = log
        .iter()
        .rposition(|line| line.contains(BEGIN))
        .ok_or("the log has lost its beginning: give the machine kernel_args \"log_buf_len=8M\"")?;
    let allowed = ALWAYS
        .iter()
        .chain(allowed)
        .map(|pattern| Regex::new(pattern));
    let allowed = allowed
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for line in &log[begin..] {
        // facility:level:[time] message
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(level), Some(text)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let bad = ["emerg", "alert", "crit", "err", "warn"].contains(&level.trim());
        let text = text.split_once("] ").map_or(text, |(_, message)| message);
        if bad && !allowed.iter().any(|pattern| pattern.is_match(text)) {
            found.push(text.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn only_warnings_since_the_beginning_count() {
        let log = log(&[
            "kern  :err   : [    0.500000] before",
            "user  :info  : [    1.000000] virtio-v4l2 harness: begin",
            "kern  :info  : [    1.100000] virtio_v4l2: ready",
            "kern  :warn  : [    1.200000] virtio_v4l2: timed out",
            "kern  :err   : [    1.300000] BUG: something",
        ]);
        assert_eq!(
            warnings(&log, &[]).unwrap(),
            ["virtio_v4l2: timed out", "BUG: something"]
        );
        assert_eq!(warnings(&log, &["timed out"]).unwrap(), ["BUG: something"]);
    }

    #[test]
    fn a_log_without_its_beginning_is_no_proof() {
        assert!(warnings(&log(&["kern  :info  : [    9.000000] late"]), &[]).is_err());
    }
}
