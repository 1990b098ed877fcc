// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Video nodes in the guest, and modules that make some.

use crate::vm::TestVm;

impl TestVm {
    /// Loads a module of the guest's kernel.
    ///
    /// # Panics
    ///
    /// It cannot be loaded: what the suite wants it for cannot be checked.
    pub fn modprobe(&self, module: &str) {
        let output = self.run(&format!("modprobe {module}"));
        assert!(output.success(), "modprobe {module}: {}", output.text());
    }

    /// The first node of vivid whose name ends in `kind`: `vid-cap`, or `001-vid-out` where there
    /// are several of it.
    ///
    /// # Panics
    ///
    /// There is none.
    pub fn vivid_node(&self, kind: &str) -> String {
        let names = self.run("grep -H . /sys/class/video4linux/*/name");
        named(&names.lines, "vivid-", kind)
            .unwrap_or_else(|| panic!("vivid has no {kind}: {}", names.text()))
    }
}

/// The first node whose name begins and ends so, of lines `…/NODE/name:NAME`.
fn named(lines: &[String], start: &str, end: &str) -> Option<String> {
    lines.iter().find_map(|line| {
        let (file, name) = line.split_once(':')?;
        let wanted = name.starts_with(start) && name.ends_with(end);
        let node = file.strip_suffix("/name")?.rsplit('/').next()?;
        wanted.then(|| format!("/dev/{node}"))
    })
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_node_is_found_by_its_name() {
        let lines = [
            "0/name:virtio-v4l2",
            "1/name:vivid-000-vid-cap",
            "2/name:vivid-001-vid-cap",
        ]
        .map(|line| format!("/sys/class/video4linux/video{line}"));
        assert_eq!(named(&lines, "vivid-", "vid-cap").unwrap(), "/dev/video1");
        assert_eq!(
            named(&lines, "vivid-", "001-vid-cap").unwrap(),
            "/dev/video2"
        );
        assert_eq!(named(&lines, "vivid-", "vid-out"), None);
    }
}
