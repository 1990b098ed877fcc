// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Whether a kernel with CONFIG_CFI would let itself call the module's callbacks.
//!
//! Such a kernel compares a hash of the pointer's type with one that stands before the function.
//! For each callback of each structure that the driver fills in, this compares what clang makes of
//! the kernel's declaration with what rustc makes of the bindings'. Where they differ (no type of
//! Rust is a C enum), the driver must not give a function of Rust's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use e2e::cache;
use e2e::parts::Parts;
use regex::Regex;

use super::checks::files;
use crate::kernel::{OUT, bindings, in_root, rustc_call};
use crate::tally::run;

/// Structures that the driver fills in.
const STRUCTS: [&str; 11] = [
    "v4l2_ioctl_ops",
    "v4l2_file_operations",
    "v4l2_device",
    "video_device",
    "dma_buf_ops",
    "virtio_dma_buf_ops",
    "vm_operations_struct",
    "mmu_interval_notifier_ops",
    "virtio_driver",
    "v4l2_helper_ioctl_ops",
    "v4l2_helper_dma_buf_ops",
];
/// Types of callbacks that have a name of their own, and whether C's is that of the function, not
/// of a pointer to it.
const TYPES: [(&str, bool); 2] = [("vq_callback_t", true), ("dma_fence_func_t", false)];
/// Fewer callbacks than this were not looked for well.
const AT_LEAST: usize = 150;

/// Hashes by the name of the probe.
type Hashes = BTreeMap<String, u32>;

/// Compares all callbacks of the module in `out/module`.
pub fn check(log: &mut File) -> Result<bool> {
    let work = cache::repository().join("out/cfi");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let ours = fs::read_to_string(bindings()?)?;
    let tree = Parts::prepare(None)?
        .kernel_dir
        .join("tree/rust/bindings/bindings_generated.rs");
    let callbacks = callbacks(&[&ours, &fs::read_to_string(tree)?]);
    fs::write(work.join("probe.rs"), rust_probe(&callbacks)?)?;
    fs::write(work.join("probe.c"), c_probe(&callbacks))?;
    if !compile(&work, log)? {
        bail!("the probes do not compile");
    }
    let c = c_hashes(&fs::read_to_string(work.join("probe.s"))?);
    let rust = rust_hashes(&fs::read_to_string(work.join("probe.ll"))?);
    let total = callbacks.len() + TYPES.len();
    let both = c.keys().filter(|name| rust.contains_key(*name)).count();
    if both != total {
        bail!(
            "of {total} callbacks only {both} have a hash on both sides: see {}",
            work.display()
        );
    }
    if total <= AT_LEAST {
        bail!("only {total} callbacks found: see {}", work.display());
    }
    let different = c
        .iter()
        .filter(|(name, hash)| rust.get(*name) != Some(hash));
    let fields: BTreeSet<_> = different.map(|(name, _)| field(name)).collect();
    let given = given(&fields)?;
    for line in &given {
        writeln!(log, "another hash, and a function of Rust: {line}")?;
    }
    writeln!(
        log,
        "{total} callbacks compared, {} have another hash in Rust",
        fields.len()
    )?;
    Ok(given.is_empty())
}

/// The callback that a probe is for.
fn field(name: &str) -> &str {
    name.rsplit("__").next().unwrap_or(name)
}

/// Structure and name of each callback.
fn callbacks(bindings: &[&str]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for name in STRUCTS {
        let fields: BTreeSet<_> = bindings
            .iter()
            .flat_map(|text| fields(text, name))
            .collect();
        found.extend(fields.into_iter().map(|field| (name, field.to_owned())));
    }
    found
}

/// The callbacks of a structure as bindgen has written it.
fn fields<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let head = format!("\npub struct {name} {{\n");
    let Some((_, rest)) = text.split_once(&head) else {
        return Vec::new();
    };
    let body = rest.split("\n}").next().unwrap_or_default();
    let fields = body
        .split("    pub ")
        .skip(1)
        .filter_map(|field| field.split_once(':'));
    fields
        .filter(|(_, kind)| kind.contains("option::Option<") && kind.contains("extern \"C\" fn"))
        .map(|(field, _)| field)
        .collect()
}

/// Calls through a pointer of each type, in Rust.
fn rust_probe(callbacks: &[(&str, String)]) -> Result<String> {
    let module = cache::repository().join("guest-driver/bindings/mod.rs");
    let mut probe = fs::read_to_string("tests/cfi/probe.rs")?
        .replace("BINDINGS_MODULE", &module.to_string_lossy());
    for (name, field) in callbacks {
        writeln!(
            probe,
            "#[no_mangle]\nunsafe fn cfi__{name}__{field}(s: &bindings::{name}) {{ unsafe {{ \
             call(s.{field}) }} }}"
        )?;
    }
    for (name, _) in TYPES {
        writeln!(
            probe,
            "#[no_mangle]\nunsafe fn cfi__{name}(f: bindings::{name}) {{ unsafe {{ call(f) }} }}"
        )?;
    }
    Ok(probe)
}

/// A declaration of each type in C. It has its hash in the object when its address is taken.
fn c_probe(callbacks: &[(&str, String)]) -> String {
    let mut probe = "#include \"bindings.h\"\n".to_owned();
    let mut declare = |kind: String, name: String| {
        let _ = writeln!(probe, "extern {kind} {name};\nvoid *use_{name} = {name};");
    };
    for (name, field) in callbacks {
        let kind = format!("typeof(*((struct {name} *)0)->{field})");
        declare(kind, format!("cfi__{name}__{field}"));
    }
    for (name, function) in TYPES {
        let kind = if function {
            name.to_owned()
        } else {
            format!("typeof(*({name})0)")
        };
        declare(kind, format!("cfi__{name}"));
    }
    probe
}

/// As kbuild called bindgen and rustc; only with CFI.
fn compile(work: &Path, log: &File) -> Result<bool> {
    let bindings_cmd = Path::new(OUT).join("guest-driver/bindings/.bindings_generated.rs.cmd");
    let text = fs::read_to_string(&bindings_cmd)?;
    let (_, flags) = text
        .lines()
        .next()
        .and_then(|line| line.split_once(" -- "))
        .with_context(|| format!("{} is not kbuild's", bindings_cmd.display()))?;
    let call = rustc_call()?;
    let ours = |word: &&str| !word.ends_with("/virtio_v4l2.rs") && *word != "-Wmissing_docs";
    let call = call.split(' ').filter(ours).collect::<Vec<_>>().join(" ");
    let (driver, work) = (
        cache::repository().join("guest-driver"),
        work.to_string_lossy(),
    );
    let (driver, out) = (driver.to_string_lossy(), fs::canonicalize(OUT)?);
    let script = format!(
        "cd '{}'
         clang {flags} -I'{driver}/bindings' -I'{driver}/helpers' -w -fsanitize=kcfi \
         -fsanitize-cfi-icall-experimental-normalize-integers -S -o '{work}/probe.s' \
         '{work}/probe.c'
         {call} --crate-name probe --cap-lints=allow -Zsanitizer=kcfi \
         -Zsanitizer-cfi-normalize-integers --emit=llvm-ir='{work}/probe.ll' '{work}/probe.rs'",
        out.display()
    );
    let bindings = format!("VIRTIO_V4L2_BINDINGS={}", bindings()?.display());
    let mut command = in_root(&[
        "env",
        "RUSTC_BOOTSTRAP=1",
        &bindings,
        "bash",
        "-euc",
        &script,
    ]);
    run(command.env("BIND", format!("{0}:{0}", out.display())), log)
}

/// What clang writes: `.set __kcfi_typeid_NAME, HASH`.
fn c_hashes(assembly: &str) -> Hashes {
    let set = |line: &str| {
        let (name, hash) = line.trim().strip_prefix(".set")?.split_once(',')?;
        let name = name.trim().strip_prefix("__kcfi_typeid_")?;
        Some((name.to_owned(), hash_of(hash)?))
    };
    assembly.lines().filter_map(set).collect()
}

/// What rustc writes: in the function NAME, `"kcfi"(i32 HASH)`.
fn rust_hashes(ir: &str) -> Hashes {
    let mut found = Hashes::new();
    let mut name = None;
    for line in ir.lines() {
        if line.starts_with("define") {
            name = line
                .split('@')
                .nth(1)
                .and_then(|rest| rest.split('(').next());
        }
        let hash = line
            .split("\"kcfi\"(i32 ")
            .nth(1)
            .and_then(|rest| rest.split(')').next());
        if let Some(hash) = hash.and_then(hash_of)
            && let Some(name) = name.filter(|name| name.starts_with("cfi__"))
        {
            found.entry(name.to_owned()).or_insert(hash);
        }
    }
    found
}

/// A number of 32 bits, however its sign is written.
fn hash_of(text: &str) -> Option<u32> {
    let number: i64 = text.trim().parse().ok()?;
    u32::try_from(number.rem_euclid(1 << 32)).ok()
}

/// Where the driver gives a function of Rust's for one of these callbacks: as a value, or in the
/// table of ioctls.
fn given(fields: &BTreeSet<&str>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in files()? {
        if !file.starts_with("guest-driver/") || !file.ends_with(".rs") {
            continue;
        }
        let text = fs::read_to_string(&file)?;
        for field in fields {
            let value = r"(Some\((Self|[A-Z])|[A-Z_]+,)";
            let pattern = Regex::new(&format!(r"\b{field}( =|:) *{value}|\b{field} = [A-Z]"))?;
            let lines = text.lines().filter(|line| pattern.is_match(line));
            found.extend(lines.map(|line| format!("{field}: {file}: {}", line.trim())));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_are_found() {
        let text = "
pub struct ops {
    pub a: ::core::option::Option<
        unsafe extern \"C\" fn(x: u8) -> u8,
    >,
    pub b: u32,
}
pub struct other {
";
        assert_eq!(fields(text, "ops"), ["a"]);
    }

    #[test]
    fn hashes_agree_whatever_their_sign() {
        let c = c_hashes("\t.set __kcfi_typeid_cfi__a, -1\n\t.set other, 3\n");
        let rust = rust_hashes(
            "define void @cfi__a(ptr %s) {\n  call void %f() [ \"kcfi\"(i32 -1) ]\n}\n",
        );
        assert_eq!(c, rust);
        assert_eq!(c["cfi__a"], u32::MAX);
    }
}
