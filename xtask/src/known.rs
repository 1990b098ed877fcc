// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What still breaks a rule, in the files of `xtask/known`: one entry a line, `RULE PATH` or
//! `RULE PATH FUNCTION`. Each has to be needed, so the lists only get shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const COMMENT: char = '#';

/// The entries, and the file of each.
pub struct Known {
    entries: BTreeMap<String, PathBuf>,
}

impl Known {
    /// Reads each file of a folder.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            for line in fs::read_to_string(&path)?.lines() {
                if !line.is_empty() && !line.starts_with(COMMENT) {
                    entries.insert(line.to_owned(), path.clone());
                }
            }
        }
        Ok(Self { entries })
    }

    pub fn contains(&self, entry: &str) -> bool {
        self.entries.contains_key(entry)
    }

    /// The entries that are not among those found.
    pub fn unneeded<'a>(&'a self, found: &BTreeSet<&str>) -> Vec<&'a str> {
        self.entries
            .keys()
            .map(String::as_str)
            .filter(|entry| !found.contains(entry))
            .collect()
    }

    /// Removes entries from their files.
    pub fn remove(&self, entries: &[&str]) -> io::Result<()> {
        let files: BTreeSet<_> = entries
            .iter()
            .filter_map(|&entry| self.entries.get(entry))
            .collect();
        for file in files {
            let text = fs::read_to_string(file)?;
            let kept: String = text
                .split_inclusive('\n')
                .filter(|line| !entries.contains(&line.trim_end()))
                .collect();
            fs::write(file, kept)?;
        }
        Ok(())
    }
}
