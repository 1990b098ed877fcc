// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use std::collections::BTreeSet;

use nix::errno::Errno;
use protocol::wire::v4l2::{Control, ExtControl, ExtControls, QueryCtrl, QueryExtCtrl, QueryMenu};

use super::*;
use crate::device::api::ControlOp;
use crate::device::encoder::catalogue::{ROWS, find};
use crate::v4l2::core::controls::class_of;

fn controls() -> Controls {
    super::controls(&ROWS.iter().collect::<Vec<_>>())
}

fn walk(controls: &Controls) -> Vec<QueryExtCtrl> {
    let mut all = Vec::new();
    let mut id = 0;
    loop {
        let mut query = QueryExtCtrl {
            id: id | V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND,
            ..Default::default()
        };
        if controls.query_ext(&mut query).is_err() {
            return all;
        }
        assert!(query.id > id, "IDs ascend");
        id = query.id;
        all.push(query);
    }
}

#[test]
fn every_control_is_one_that_compliance_takes() {
    let controls = controls();
    let all = walk(&controls);
    let own: BTreeSet<u32> = ROWS
        .iter()
        .flat_map(|row| row.controls)
        .map(|info| info.id)
        .collect();
    assert_eq!(all.len(), COMMON.len() + own.len());
    let mut class = 0;
    for query in all {
        if class_of(query.id) != class {
            assert_eq!(query.type_, 6, "a class starts with its heading");
            class = class_of(query.id);
        }
        let (min, max, default) = (query.minimum, query.maximum, query.default_value);
        match query.type_ {
            1..=3 => {
                assert_eq!(query.step, 1);
                assert!((min..=max).contains(&default), "{:#x}", query.id);
            }
            4 | 6 => assert_eq!((min, max, default, query.step), (0, 0, 0, 0)),
            other => panic!("type {other}"),
        }
        if query.type_ == 3 {
            let item = |index| {
                controls.query_menu(&mut QueryMenu {
                    id: query.id,
                    index,
                    ..Default::default()
                })
            };
            assert_eq!(item(default as u32), Ok(()));
            assert_eq!(item(max as u32), Ok(()));
            assert_eq!(item(max as u32 + 1), Err(Errno::EINVAL));
        }
    }
    let mut compound = QueryExtCtrl {
        id: V4L2_CTRL_FLAG_NEXT_COMPOUND,
        ..Default::default()
    };
    assert_eq!(controls.query_ext(&mut compound), Err(Errno::EINVAL));
}

#[test]
fn names_are_the_kernels() {
    let name = |id| {
        let mut query = QueryCtrl {
            id,
            ..Default::default()
        };
        controls().query(&mut query).unwrap();
        let len = query.name.iter().position(|b| *b == 0).unwrap();
        String::from_utf8(query.name[..len].to_vec()).unwrap()
    };
    assert_eq!(name(V4L2_CID_MPEG_VIDEO_BITRATE), "Video Bitrate");
    assert_eq!(
        name(V4L2_CID_MPEG_VIDEO_H264_I_PERIOD),
        "H264 I-Frame Period"
    );
    assert_eq!(
        name(V4L2_CID_MIN_BUFFERS_FOR_OUTPUT),
        "Min Number of Output Buffers"
    );
    // Longer than the field, as `strscpy` cuts it.
    assert_eq!(
        name(V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE),
        "Frame Level Rate Control Enable"
    );
}

#[test]
fn only_controls_of_the_hosts_codecs_are_there() {
    let controls = super::controls(&[find("vp8").unwrap()]);
    assert!(controls.info(V4L2_CID_MPEG_VIDEO_H264_PROFILE).is_none());
    assert!(controls.info(V4L2_CID_MPEG_VIDEO_VP8_PROFILE).is_some());
    assert!(controls.info(V4L2_CID_MPEG_VIDEO_BITRATE).is_some());
    assert!(controls.info(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE).is_none());
}

/// What bounds the quantiser of a codec is a control on any host that has the codec, whatever else
/// it has.
#[test]
fn every_codec_has_its_quantisers_by_itself() {
    for row in ROWS {
        let controls = super::controls(&[row]);
        let (least, most) = (controls.value(row.qp.0), controls.value(row.qp.1));
        assert!(least < most, "{}: {least} to {most}", row.name);
    }
}

#[test]
fn numbers_are_clamped_and_menus_are_not() {
    let mut controls = controls();
    let mut set = |id, value| {
        let mut control = Control { id, value };
        controls.set(&mut control).map(|_| control.value)
    };
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_BITRATE, 1), Ok(1000));
    assert_eq!(
        set(V4L2_CID_MPEG_VIDEO_BITRATE, i32::MAX),
        Ok(2_000_000_000)
    );
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_B_FRAMES, 3), Ok(0));
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_GOP_SIZE, -1), Ok(0));
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE, 7), Ok(1));
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_HEADER_MODE, 0), Err(Errno::EINVAL));
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_HEADER_MODE, 2), Err(Errno::ERANGE));
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_H264_PROFILE, 3), Err(Errno::EINVAL));
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_H264_PROFILE, 2), Ok(2));
    assert_eq!(set(V4L2_CID_MIN_BUFFERS_FOR_OUTPUT, 2), Err(Errno::EACCES));
    assert_eq!(set(V4L2_CID_CODEC_CLASS, 2), Err(Errno::EACCES));
    assert_eq!(set(V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, 1), Ok(0));
    assert_eq!(set(0, 1), Err(Errno::EINVAL));
    let get = |id| {
        let mut control = Control { id, value: 0 };
        controls.get(&mut control).map(|()| control.value)
    };
    assert_eq!(get(V4L2_CID_MPEG_VIDEO_H264_PROFILE), Ok(2));
    assert_eq!(get(V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME), Err(Errno::EACCES));
    assert_eq!(get(V4L2_CID_USER_CLASS), Err(Errno::EACCES));
}

fn ext(
    controls: &mut Controls,
    op: ControlOp,
    which: u32,
    list: &mut [(u32, i32)],
) -> (Result<usize, Errno>, u32) {
    let mut header = ExtControls {
        which,
        count: list.len() as u32,
        ..Default::default()
    };
    let mut array: Vec<ExtControl> = list
        .iter()
        .map(|(id, value)| {
            let mut control = ExtControl {
                id: *id,
                size: 0,
                reserved2: 9,
                value: [0; 2],
            };
            control.set_value(*value);
            control
        })
        .collect();
    let result = controls.ext(op, &mut header, &mut array);
    for ((_, value), control) in list.iter_mut().zip(array) {
        assert_eq!(control.reserved2, 0);
        *value = control.value();
    }
    (result.map(|set| set.len()), header.error_idx)
}

const BITRATE: u32 = V4L2_CID_MPEG_VIDEO_BITRATE;
const PROFILE: u32 = V4L2_CID_MPEG_VIDEO_H264_PROFILE;
const BUTTON: u32 = V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME;
const CODEC: u32 = V4L2_CID_CODEC_CLASS & 0x0fff_0000;

#[test]
fn extended_calls_blame_as_the_kernel_does() {
    use ControlOp::{Get, Set, Try};
    let mut c = controls();
    // A bad value: TRY says which, SET that nothing was touched.
    assert_eq!(
        ext(&mut c, Try, 0, &mut [(BITRATE, 5000), (PROFILE, 3)]),
        (Err(Errno::EINVAL), 1)
    );
    assert_eq!(
        ext(&mut c, Set, 0, &mut [(BITRATE, 5000), (PROFILE, 3)]),
        (Err(Errno::EINVAL), 2)
    );
    assert_ne!(c.value(BITRATE), 5000);
    // An unknown control.
    assert_eq!(
        ext(&mut c, Try, 0, &mut [(BITRATE, 1), (7, 0)]),
        (Err(Errno::EINVAL), 1)
    );
    assert_eq!(
        ext(&mut c, Get, 0, &mut [(BITRATE, 0), (7, 0)]),
        (Err(Errno::EINVAL), 2)
    );
    // An ID with the bits of a query in it.
    for bits in [V4L2_CTRL_FLAG_NEXT_CTRL, V4L2_CTRL_FLAG_NEXT_COMPOUND] {
        for op in [Get, Set, Try] {
            let (result, _) = ext(&mut c, op, 0, &mut [(BITRATE | bits, 5000)]);
            assert_eq!(result, Err(Errno::EINVAL), "{op:?} {bits:#x}");
        }
    }
    // One that cannot be read or written.
    assert_eq!(
        ext(&mut c, Get, 0, &mut [(BUTTON, 0)]),
        (Err(Errno::EACCES), 1)
    );
    let min_buffers = V4L2_CID_MIN_BUFFERS_FOR_OUTPUT;
    assert_eq!(
        ext(&mut c, Try, 0, &mut [(min_buffers, 1)]),
        (Err(Errno::EACCES), 0)
    );
    assert_eq!(
        ext(&mut c, Set, 0, &mut [(min_buffers, 1)]),
        (Err(Errno::EACCES), 1)
    );
    // Good ones.
    let mut list = [(BITRATE, 1), (PROFILE, 1)];
    assert_eq!(ext(&mut c, Try, CODEC, &mut list), (Ok(0), 2));
    assert_eq!(list, [(BITRATE, 1000), (PROFILE, 1)]);
    assert_ne!(c.value(PROFILE), 1);
    assert_eq!(ext(&mut c, Set, CODEC, &mut list), (Ok(2), 2));
    let mut list = [(BITRATE, 0), (PROFILE, 0)];
    assert_eq!(ext(&mut c, Get, 0, &mut list), (Ok(0), 2));
    assert_eq!(list, [(BITRATE, 1000), (PROFILE, 1)]);
}

#[test]
fn which_selects_classes_and_defaults() {
    use ControlOp::{Get, Set, Try};
    let mut c = controls();
    let user = V4L2_CID_USER_CLASS & 0x0fff_0000;
    assert_eq!(
        ext(&mut c, Get, user, &mut [(BITRATE, 0)]),
        (Err(Errno::EINVAL), 1)
    );
    for op in [Get, Set, Try] {
        for (which, expected) in [
            (0, Ok(0)),
            (user, Ok(0)),
            (CODEC, Ok(0)),
            (0x00a1_0000, Err(Errno::EINVAL)),
            (V4L2_CTRL_WHICH_REQUEST_VAL, Err(Errno::EINVAL)),
            (CTRL_WHICH_MIN_VAL, Err(Errno::EINVAL)),
        ] {
            assert_eq!(
                ext(&mut c, op, which, &mut []).0,
                expected,
                "{op:?} {which:#x}"
            );
        }
    }
    let default = V4L2_CTRL_WHICH_DEF_VAL;
    c.set(&mut Control {
        id: PROFILE,
        value: 0,
    })
    .unwrap();
    let mut list = [(PROFILE, 0)];
    assert_eq!(ext(&mut c, Get, default, &mut list), (Ok(0), 1));
    assert_eq!(list, [(PROFILE, 4)]);
    assert_eq!(
        ext(&mut c, Set, default, &mut list),
        (Err(Errno::EINVAL), 1)
    );
    assert_eq!(
        ext(&mut c, Try, default, &mut list),
        (Err(Errno::EINVAL), 1)
    );
}

#[test]
fn subscribers_are_told_how_a_control_stands() {
    use protocol::wire::v4l2::EventCtrl;
    use zerocopy::FromBytes as _;
    let c = controls();
    let event = c.initial_event(c.info(BITRATE).unwrap()).unwrap();
    assert_eq!((event.type_, event.id), (V4L2_EVENT_CTRL, BITRATE));
    let ctrl = EventCtrl::read_from_prefix(&event.u).unwrap().0;
    assert_eq!(
        ctrl.changes,
        V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_FLAGS
    );
    assert_eq!((ctrl.value, ctrl.minimum), (4_000_000, 1000));
    let event = c.initial_event(c.info(BUTTON).unwrap()).unwrap();
    let ctrl = EventCtrl::read_from_prefix(&event.u).unwrap().0;
    assert_eq!(ctrl.changes, V4L2_EVENT_CTRL_CH_FLAGS);
    assert!(
        c.initial_event(c.info(V4L2_CID_CODEC_CLASS).unwrap())
            .is_none()
    );
}
