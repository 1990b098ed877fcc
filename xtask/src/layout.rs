// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The rules of how the source is laid out.
//!
//! - `circle`: no two files use each other, be it by way of others. A file uses the file that
//!   defines what a path of its own leads to. So declaring a module is no use of it, importing a
//!   module is none until something of it is named, and a re-export is none either: whoever names
//!   what it gives uses the file behind it. A parent may thus declare and re-export its children,
//!   and they may use what it defines. Code that is compiled for tests only is left out.
//! - `file`: at most 600 lines.
//! - `function`: at most 60 lines, 120 in tests. A table may be longer: a body that is one `match`
//!   or one list, nine tenths of it rows of one line.
//! - `wide`: lines have at most 100 columns, but for rows of Markdown's tables and very long words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::circles::circles;
use crate::known::Known;
use crate::modules::Crate;
use crate::sizes;
use crate::source::Source;

/// The roots of the crates in which circles are looked for.
const ROOTS: [&str; 4] = [
    "guest-driver/virtio_v4l2.rs",
    "host-device/src/lib.rs",
    "host-device/src/main.rs",
    "protocol/src/lib.rs",
];

/// Checks the repository. Prints what breaks a rule and is not in the lists of `xtask/known`, and
/// entries that are no longer needed; with `shrink`, removes those. Returns whether all is fine.
pub fn check(repository: &Path, shrink: bool) -> Result<bool, String> {
    let files = read_files(repository)?;
    let sources = parse(&files)?;
    let mut found = Found::new();
    for (path, text) in &files {
        lengths(path, text, sources.get(path), &mut found);
    }
    for root in ROOTS {
        circles_of(Path::new(root), &sources, &mut found)?;
    }
    report(repository, &found, shrink)
}

/// What breaks a rule: its entry in the lists, and details.
type Found = BTreeMap<String, String>;

/// The text files that git knows, or would add.
fn read_files(repository: &Path) -> Result<BTreeMap<PathBuf, String>, String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(repository)
        .output()
        .map_err(|error| format!("git ls-files: {error}"))?;
    let names = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    let mut files = BTreeMap::new();
    for name in names.split_terminator('\0') {
        // What is not text, or was removed and is not committed yet.
        if let Ok(text) = fs::read_to_string(repository.join(name)) {
            files.insert(PathBuf::from(name), text);
        }
    }
    if files.is_empty() {
        return Err("git ls-files lists nothing".to_owned());
    }
    Ok(files)
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn parse(files: &BTreeMap<PathBuf, String>) -> Result<BTreeMap<PathBuf, Source>, String> {
    files
        .iter()
        .filter(|(path, _)| is_rust(path))
        .map(|(path, text)| match Source::parse(text) {
            Ok(source) => Ok((path.clone(), source)),
            Err(error) => Err(format!("{}: {error}", path.display())),
        })
        .collect()
}

fn lengths(path: &Path, text: &str, source: Option<&Source>, found: &mut Found) {
    let name = path.display();
    // Texts that are not ours to wrap.
    if name.to_string() == "Cargo.lock" || path.starts_with("LICENSES") {
        return;
    }
    if let Some(lines) = sizes::long_file(text) {
        let limit = sizes::FILE_LINES;
        found.insert(
            format!("file {name}"),
            format!("{lines} lines, of at most {limit}"),
        );
    }
    let markdown = path.extension().is_some_and(|extension| extension == "md");
    if let Some(line) = sizes::wide_line(text, markdown) {
        let limit = sizes::COLUMNS;
        found.insert(
            format!("wide {name}"),
            format!("line {line} has more than {limit} columns"),
        );
    }
    let test = path.components().any(|part| part.as_os_str() == "tests")
        || path.file_stem().is_some_and(|stem| stem == "tests");
    for function in source.map_or(&[][..], |source| &source.functions) {
        if let Some(limit) = sizes::long_function(function, test) {
            let (function, lines) = (&function.name, function.lines);
            found.insert(
                format!("function {name} {function}"),
                format!("{lines} lines, of at most {limit}"),
            );
        }
    }
}

fn circles_of(
    root: &Path,
    sources: &BTreeMap<PathBuf, Source>,
    found: &mut Found,
) -> Result<(), String> {
    let tree = Crate::new(root, sources)?;
    let edges = tree.edges();
    for circle in circles(&edges) {
        for &file in &circle {
            let others: Vec<String> = edges[file]
                .intersection(&circle)
                .map(|file| file.display().to_string())
                .collect();
            found.insert(
                format!("circle {}", file.display()),
                format!("one of {}, by {}", circle.len(), others.join(", ")),
            );
        }
    }
    Ok(())
}

fn report(repository: &Path, found: &Found, shrink: bool) -> Result<bool, String> {
    let failed = |error| format!("xtask/known: {error}");
    let known = Known::read(&repository.join("xtask/known")).map_err(failed)?;
    let mut said = String::new();
    for (entry, details) in found {
        if !known.contains(entry) {
            said += &format!("{entry}: {details}\n");
        }
    }
    let entries: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    let unneeded = known.unneeded(&entries);
    if shrink {
        known.remove(&unneeded).map_err(failed)?;
    } else if !unneeded.is_empty() {
        said += "no longer needed in xtask/known (cargo xtask layout --shrink removes them):\n";
        for entry in unneeded {
            said += &format!("  {entry}\n");
        }
    }
    // Whoever reads it may have read enough.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(said.is_empty())
}
