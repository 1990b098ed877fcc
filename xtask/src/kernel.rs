// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! How kbuild builds the guest driver, for tools that look at it in the same way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// Where kbuild puts the module.
pub const OUT: &str = "out/module";

/// A command in the build root.
pub fn in_root(arguments: &[&str]) -> Command {
    let mut command = Command::new("tests/vm/in-root");
    command.args(arguments);
    command
}

/// How kbuild called rustc for the module in [`OUT`], as a line for a shell.
pub fn rustc_call() -> Result<String> {
    let path = Path::new(OUT).join("guest-driver/.virtio_v4l2.o.cmd");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("no module in {OUT}; run: make module"))?;
    call(&text).with_context(|| format!("{} is not kbuild's", path.display()))
}

/// The command in a `.cmd` file of kbuild, without where its products go.
fn call(text: &str) -> Option<String> {
    let (_, call) = text.lines().next()?.split_once(":= ")?;
    // What comes after the compiler is kbuild's.
    let call = call.split(';').next()?.trim_end();
    let mut words = call.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--out-dir" {
            words.next();
        } else if !word.starts_with("--emit=") {
            kept.push(word);
        }
    }
    Some(kept.join(" "))
}

/// The bindings that kbuild has made for the module.
pub fn bindings() -> Result<PathBuf> {
    let path = "guest-driver/bindings/bindings_generated.rs";
    Ok(fs::canonicalize(Path::new(OUT).join(path))?)
}

/// rustdoc of the module, private items too, in `out/module/doc`; warnings are errors.
pub fn document() -> Result<Command> {
    let call = rustc_call()?.replacen(" rustc ", " rustdoc ", 1);
    let out = fs::canonicalize(OUT)?;
    let bindings = format!("VIRTIO_V4L2_BINDINGS={}", bindings()?.display());
    let options = "--crate-name virtio_v4l2 --document-private-items --out-dir doc -D warnings";
    let out = out.to_string_lossy();
    let run = format!("cd '{out}'; {call} {options}");
    let mut command = in_root(&["env", "RUSTC_BOOTSTRAP=1", &bindings, "bash", "-euc", &run]);
    command.env("BIND", format!("{out}:{out}"));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::call;

    #[test]
    fn a_call_of_kbuild_is_taken_without_its_products() {
        let line = "savedcmd_a.o := A=1 rustc --edition=2021 --emit=dep-info=a.d --emit=obj=a.o \
                    --out-dir /o a.rs ; grep x y";
        assert_eq!(call(line).unwrap(), "A=1 rustc --edition=2021 a.rs");
        assert!(call("nothing").is_none());
    }
}
