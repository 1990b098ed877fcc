// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use super::*;

fn allow(list: &str) -> Allow {
    let mut allow = Allow::default();
    allow.set_ioctls(list).unwrap();
    allow
}

#[test]
fn every_ioctl_is_in_one_group_or_never_passed_on() {
    for ioctl in TABLE {
        let groups = GROUPS
            .iter()
            .filter(|group| group.codes.contains(&ioctl.code))
            .count();
        let passed_on = ioctl.forwarded && !REFUSED.contains(&ioctl.code);
        assert_eq!(groups, usize::from(passed_on), "{}", ioctl.name);
    }
}

/// What is called `G_`, `ENUM…`, `QUERY…` or `TRY_` changes nothing; what sets something is not in
/// that group.
#[test]
fn the_query_group_sets_nothing() {
    let query = allow("query");
    for ioctl in TABLE {
        let name = ioctl.name.strip_prefix("VIDIOC_").unwrap();
        if name.starts_with("S_") || name.starts_with("STREAM") {
            assert!(!query.ioctl(ioctl.code), "{name}");
        }
    }
}

#[test]
fn lists_of_ioctls() {
    assert!(Allow::default().ioctl(ioctl::S_EDID));
    let some = allow("query+stream+S_FMT");
    for code in [ioctl::G_FMT, ioctl::QBUF, ioctl::S_FMT] {
        assert!(some.ioctl(code));
    }
    for code in [ioctl::S_PARM, ioctl::S_EDID, ioctl::S_CTRL, 200] {
        assert!(!some.ioctl(code));
    }
    let most = allow("all+-edid+-S_FREQUENCY");
    assert!(most.ioctl(ioctl::S_TUNER) && most.ioctl(ioctl::G_EDID));
    assert!(!most.ioctl(ioctl::S_EDID) && !most.ioctl(ioctl::S_FREQUENCY));
}

#[test]
fn names_that_are_none() {
    for (list, word) in [
        ("S_FMTS", "groups: all, query"),
        ("VIDIOC_S_FMT", "VIDIOC_S_FMT"),
        ("query++stream", "\"\""),
        ("query+-nothing", "nothing"),
        ("S_FBUF", "never"),
        ("DBG_S_REGISTER", "never"),
        ("QUERYCAP", "never"),
    ] {
        let error = Allow::default().set_ioctls(list).unwrap_err().to_string();
        assert!(error.contains(word), "{list}: {error}");
    }
}

#[test]
fn names_of_controls() {
    for (name, expected) in [
        ("Brightness", "brightness"),
        ("White Balance, Automatic", "white_balance_automatic"),
        ("S32 2 Element Array", "s32_2_element_array"),
        ("  Gain (dB) ", "gain_db"),
    ] {
        assert_eq!(variable(name), expected);
    }
}

#[test]
fn lists_of_controls() {
    let device = [
        (0x0098_0900, "Brightness".to_owned()),
        (0x009a_0901, "Auto Exposure".to_owned()),
        (0x009a_0902, "Exposure Time, Absolute".to_owned()),
    ];
    let ids = controls("auto_exposure+0x980900", &device).unwrap();
    let mut allow = Allow::default();
    assert!(allow.may_set(1));
    allow.set_controls(ids);
    assert!(allow.may_set(0x0098_0900) && allow.may_set(0x009a_0901));
    // uvcvideo takes these for the next control after brightness.
    assert!(!allow.may_set(0x8098_0900) && !allow.may_set(0x4098_0900));
    assert!(!allow.may_set(0x009a_0902) && !allow.may_set(0x0800_0000));
    for none in ["contrast", "0x1", "0xzz", "", "brightness+"] {
        assert!(controls(none, &device).is_err(), "{none}");
    }
}
