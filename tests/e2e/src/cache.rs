// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Places, and what is made once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::process::say;

/// The repository. Cargo says where this package is, the repository is around it; a binary that
/// runs in a VM finds it in the same place.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("/"))
        .to_owned()
}

/// What is made once and kept: `${XDG_CACHE_HOME:-~/.cache}/virtio-v4l2`.
pub fn directory() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    base.join("virtio-v4l2")
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// The entry `name` of the cache. If there is none, `make` fills an empty directory, which is
/// renamed when it succeeded: an entry is complete or not there at all. Of several runs one does
/// the work while the others wait.
///
/// # Errors
///
/// `make` fails, or the cache cannot be written.
pub fn once(name: &str, what: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let entry = directory().join(name);
    if entry.exists() {
        return Ok(entry);
    }
    fs::create_dir_all(directory())?;
    let lock = File::create(directory().join(format!(".lock.{name}")))?;
    lock.lock()?;
    if entry.exists() {
        return Ok(entry);
    }
    let start = Instant::now();
    say(&format!("{what}: making it once"));
    let temporary = directory().join(format!(".tmp.{name}"));
    if temporary.exists() {
        fs::remove_dir_all(&temporary)?;
    }
    fs::create_dir(&temporary)?;
    make(&temporary).with_context(|| format!("{what} failed"))?;
    fs::rename(&temporary, &entry)?;
    say(&format!("{what}: done in {} s", start.elapsed().as_secs()));
    Ok(entry)
}
