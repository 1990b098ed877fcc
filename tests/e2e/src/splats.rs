// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a kernel prints that looks for mistakes (`tests/vm/debug/config`).

use regex::Regex;

/// First lines of what its checks print: name, pattern.
const KINDS: [(&str, &str); 11] = [
    ("KASAN", "BUG: KASAN:"),
    (
        "lockdep",
        "WARNING: (possible|suspicious|inconsistent|bad|held|lock|nested)|BUG: .*lock|\
         INFO: (lockdep|possible|trying to register non-static)|Invalid wait context",
    ),
    (
        "sleeping in atomic context",
        "BUG: sleeping function|BUG: scheduling while atomic",
    ),
    ("DMA-API", "DMA-API:"),
    ("ODEBUG", "ODEBUG:"),
    ("refcount", "refcount_t:"),
    ("list corruption", "list_(add|del) corruption"),
    (
        "hung or stalled",
        "INFO: task .* blocked|rcu:? INFO:|soft lockup|detected stall",
    ),
    ("Rust panic", "panicked at"),
    (
        "kernel bug",
        "kernel BUG at|Oops|general protection fault|unable to handle|Unable to handle",
    ),
    ("any other BUG or WARNING", "BUG: |WARNING: "),
];

/// The splats of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splats {
    /// Its name.
    pub kind: &'static str,
    /// The first line of each.
    pub lines: Vec<String>,
}

/// The splats in a kernel's log, each of them once. Every kind is there, if only with none.
///
/// # Errors
///
/// A pattern is not one.
pub fn find(log: &str) -> Result<Vec<Splats>, regex::Error> {
    let mut left: Vec<&str> = log.lines().collect();
    let mut found = Vec::new();
    for (kind, pattern) in KINDS {
        let pattern = Regex::new(pattern)?;
        let is_one = |line: &&str| pattern.is_match(line);
        let (lines, others) = left.into_iter().partition::<Vec<_>, _>(is_one);
        left = others;
        let lines = lines.into_iter().map(str::to_owned).collect();
        found.push(Splats { kind, lines });
    }
    Ok(found)
}

/// How many objects kmemleak tells of.
pub fn leaks(kmemleak: &str) -> usize {
    let lines = kmemleak.lines();
    lines
        .filter(|line| line.starts_with("unreferenced object"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_splat_counts_once() {
        let log = "\
[   10.1] BUG: KASAN: slab-use-after-free in virtio_v4l2
[   10.2] virtio_v4l2: ready
[   11.0] WARNING: possible circular locking dependency detected
[   12.0] INFO: task client:312 blocked for more than 30 seconds.
[   13.0] WARNING: kernel/dma/debug.c:1232 at debug_dma_map_sg
[   13.1] DMA-API: virtio-pci 0000:01:00.0: mapping sg segment longer than device claims";
        let found = find(log).unwrap();
        assert_eq!(found.len(), KINDS.len());
        let count = |name| {
            let kind = found.iter().find(|splats| splats.kind == name).unwrap();
            kind.lines.len()
        };
        for kind in [
            "KASAN",
            "lockdep",
            "hung or stalled",
            "DMA-API",
            "any other BUG or WARNING",
        ] {
            assert_eq!(count(kind), 1, "{kind}");
        }
        let total: usize = found.iter().map(|splats| splats.lines.len()).sum();
        assert_eq!(total, 5);
    }

    #[test]
    fn leaks_are_counted() {
        let text =
            "unreferenced object 0xffff (size 64):\n  backtrace:\nunreferenced object 0xfffe";
        assert_eq!(leaks(text), 2);
        assert_eq!(leaks(""), 0);
    }
}
