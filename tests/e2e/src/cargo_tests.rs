// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Test binaries that cargo builds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cache;

/// A test binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestBinary {
    /// Its source, as seen from the repository: `tests/tests/import.rs`, `protocol/src/lib.rs`.
    pub source: PathBuf,
    /// The program.
    pub executable: PathBuf,
}

impl TestBinary {
    /// The program's name without the hash that cargo adds.
    pub fn name(&self) -> String {
        let name = self.executable.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        name.rsplit_once('-')
            .map_or(&*name, |(name, _)| name)
            .to_owned()
    }
}

/// Builds the test binaries of the workspace.
///
/// # Errors
///
/// Cargo is missing, or does not succeed; it has said why.
pub fn build() -> Result<Vec<TestBinary>> {
    let arguments = [
        "test",
        "--workspace",
        "--locked",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(cache::repository())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo is missing")?;
    if !output.status.success() {
        bail!("cargo does not build the tests (see above)");
    }
    read(&String::from_utf8(output.stdout)?, &cache::repository())
}

/// The test binaries in cargo's messages.
fn read(messages: &str, repository: &Path) -> Result<Vec<TestBinary>> {
    let mut binaries = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("a message of cargo")?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            continue;
        }
        let (Some(source), Some(executable)) = (
            message["target"]["src_path"].as_str(),
            message["executable"].as_str(),
        ) else {
            continue;
        };
        let source = Path::new(source);
        binaries.push(TestBinary {
            source: source.strip_prefix(repository).unwrap_or(source).to_owned(),
            executable: executable.into(),
        });
    }
    Ok(binaries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","target":{"src_path":"/r/a/src/lib.rs"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"src_path":"/r/a/src/main.rs"},"profile":{"test":false},"executable":"/t/debug/a"}
{"reason":"compiler-artifact","target":{"src_path":"/r/a/src/lib.rs"},"profile":{"test":true},"executable":"/t/debug/deps/a_b-0123"}
{"reason":"build-finished","success":true}"#;

    #[test]
    fn only_tests_count() {
        let binaries = read(MESSAGES, Path::new("/r")).unwrap();
        assert_eq!(binaries.len(), 1);
        assert_eq!(binaries[0].source, Path::new("a/src/lib.rs"));
        assert_eq!(binaries[0].executable, Path::new("/t/debug/deps/a_b-0123"));
        assert_eq!(binaries[0].name(), "a_b");
    }
}
