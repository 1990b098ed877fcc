// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The ioctl table and the constants against `linux/videodev2.h`, as a C compiler reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use protocol::wire::ioctl::{Attached, Direction, TABLE};
use protocol::wire::v4l2::CONSTANTS;

/// The C compiler, with the headers that v4l2r is built with (`.cargo/config.toml`).
fn compiler() -> Command {
    let mut compiler = Command::new("cc");
    if let Some(dir) = std::env::var_os("V4L2R_VIDEODEV2_H_PATH") {
        compiler.arg("-I").arg(dir);
    }
    compiler
}

/// The macros of `linux/videodev2.h` and of what it includes.
fn macros() -> String {
    let output = compiler()
        .args("-E -dM -include linux/videodev2.h -x c /dev/null".split(' '))
        .output()
        .expect("a C compiler, `cc`, is needed (Rust links with it too)");
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the `VIDIOC_*` macros that make an ioctl number.
fn macro_names(macros: &str) -> Vec<&str> {
    macros
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("#define")?.split_whitespace();
            let name = words.next()?;
            let value = words.next()?;
            (name.starts_with("VIDIOC_") && value.starts_with("_IO")).then_some(name)
        })
        .collect()
}

/// Names in `linux/videodev2.h` that came after some headers in use.
const NEW: &[&str] = &["V4L2_CTRL_WHICH_MIN_VAL", "V4L2_CTRL_WHICH_MAX_VAL"];

/// The value of each macro or enumerator, from a program that prints them. Of those in [`NEW`],
/// which are macros, some may be missing.
fn values(names: &[&str]) -> BTreeMap<String, u32> {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("numbers.c");
    let program = dir.path().join("numbers");
    let mut text =
        String::from("#include <stdio.h>\n#include <linux/videodev2.h>\nint main(void) {\n");
    for name in names {
        let print = format!("printf(\"{name} %u\\n\", (unsigned int){name});\n");
        text += &match NEW.contains(name) {
            true => format!("#ifdef {name}\n{print}#endif\n"),
            false => print,
        };
    }
    text += "return 0; }\n";
    std::fs::write(&source, text).unwrap();
    let status = compiler()
        .args([&source, &PathBuf::from("-o"), &program])
        .status()
        .unwrap();
    assert!(status.success());
    let output = Command::new(&program).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn table_is_videodev2() {
    let macros = macros();
    let names = macro_names(&macros);
    assert!(names.len() > 70, "found only {names:?}");
    let values = values(&names);

    for (name, value) in &values {
        let (direction, size) = (value >> 30, (value >> 16) & 0x3fff);
        let (group, number) = ((value >> 8) & 0xff, value & 0xff);
        assert_eq!(group, u32::from(b'V'), "{name}");
        let ioctl = TABLE
            .iter()
            .find(|ioctl| ioctl.name == name)
            .unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(ioctl.code, number, "{name}");
        assert_eq!(ioctl.size, size as usize, "{name}");
        let expected = match direction {
            0 => Direction::None,
            1 => Direction::Write,
            2 => Direction::Read,
            _ => Direction::ReadWrite,
        };
        assert_eq!(ioctl.direction, expected, "{name}");
    }

    // Nothing of our own making; REMOVE_BUFS came with Linux 6.10, after some headers in use.
    for ioctl in TABLE {
        assert!(
            values.contains_key(ioctl.name) || ioctl.name == "VIDIOC_REMOVE_BUFS",
            "{} is not in videodev2.h",
            ioctl.name
        );
    }
}

#[test]
fn constants_are_videodev2() {
    let names: Vec<&str> = CONSTANTS.iter().map(|(name, _)| *name).collect();
    let values = values(&names);
    for (name, value) in CONSTANTS {
        match values.get(*name) {
            Some(theirs) => assert_eq!(u64::from(*theirs), *value, "{name}"),
            None => assert!(NEW.contains(name), "{name} is not in videodev2.h"),
        }
    }
}

#[test]
fn attachments() {
    let with = |attached| -> Vec<&str> {
        TABLE
            .iter()
            .filter(|ioctl| ioctl.attached == attached)
            .map(|ioctl| ioctl.name)
            .collect()
    };
    assert_eq!(
        with(Attached::Planes),
        [
            "VIDIOC_QUERYBUF",
            "VIDIOC_QBUF",
            "VIDIOC_DQBUF",
            "VIDIOC_PREPARE_BUF"
        ]
    );
    assert_eq!(
        with(Attached::Controls),
        [
            "VIDIOC_G_EXT_CTRLS",
            "VIDIOC_S_EXT_CTRLS",
            "VIDIOC_TRY_EXT_CTRLS"
        ]
    );
    assert_eq!(with(Attached::Edid), ["VIDIOC_G_EDID", "VIDIOC_S_EDID"]);
    assert_eq!(with(Attached::Uuid), ["VIDIOC_EXPBUF"]);
}

/// VIRTIO 1.4, "Unsupported ioctls".
#[test]
fn not_forwarded() {
    let names: Vec<&str> = TABLE
        .iter()
        .filter(|ioctl| !ioctl.forwarded)
        .map(|ioctl| ioctl.name)
        .collect();
    assert_eq!(
        names,
        [
            "VIDIOC_QUERYCAP",
            "VIDIOC_DQBUF",
            "VIDIOC_G_JPEGCOMP",
            "VIDIOC_S_JPEGCOMP",
            "VIDIOC_LOG_STATUS",
            "VIDIOC_DQEVENT"
        ]
    );
}
