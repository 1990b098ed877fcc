// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The encoder under commands of random content: it answers each, and the next session encodes.

mod common;

use common::alone;
use common::encoder::{CAPTURE, OUTPUT, config, encoder, works};
use frontend::{Client, Layout};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::wire::command::{CmdIoctl, CmdMmap, CmdMunmap};
use protocol::wire::ioctl::{self, TABLE};
use zerocopy::IntoBytes;

#[derive(Clone, Debug)]
struct RandomCommand {
    cmd: u32,
    /// 0 is the session that is open.
    session: u32,
    code: u32,
    body: Vec<u8>,
    /// Bytes that are cut off, or missing from the space.
    cut: usize,
    capacity: usize,
    layout: Layout,
}

fn random_commands() -> impl Strategy<Value = RandomCommand> {
    let edge = prop_oneof![
        0_u32..40,
        select(vec![0xff, 0x7fff_ffff, 0x8000_0000, u32::MAX])
    ];
    // Words more often than bytes: most fields are words, and small.
    let word = prop_oneof![4 => edge, 1 => any::<u32>(), 2 => select(vec![OUTPUT, CAPTURE])];
    let body = vec(word, 0..160).prop_map(|words| words.as_bytes().to_vec());
    (
        prop_oneof![1 => 0_u32..8, 8 => Just(3)],
        prop_oneof![8 => Just(0_u32), 1 => any::<u32>()],
        prop_oneof![8 => 0_u32..110, 1 => any::<u32>()],
        body,
        prop_oneof![3 => Just(0_usize), 1 => 0_usize..64],
        prop_oneof![4 => 200_usize..2100, 1 => 0_usize..300],
        select(vec![
            Layout::Two,
            Layout::Split(64),
            Layout::Indirect,
            Layout::IndirectSplit(33),
        ]),
    )
        .prop_map(
            |(cmd, session, code, body, cut, capacity, layout)| RandomCommand {
                cmd,
                session,
                code,
                body,
                cut,
                capacity,
                layout,
            },
        )
}

fn send(client: &mut Client, session: u32, random: &RandomCommand) {
    let mut bytes = Vec::new();
    for word in [
        random.cmd,
        0,
        session.wrapping_add(random.session),
        random.code,
    ] {
        bytes.extend(word.to_le_bytes());
    }
    // A payload as long as it must be, more often than not.
    let mut body = random.body.clone();
    if let Some(ioctl) = ioctl::lookup(random.code)
        && body.len() < ioctl.size
    {
        body.resize(ioctl.size, 0);
    }
    bytes.extend(body);
    bytes.truncate(bytes.len() - random.cut.min(bytes.len() - 1));
    client.layout = random.layout;
    let reply = client.command(&bytes, random.capacity);
    client.layout = Layout::Two;
    if random.capacity >= 8 && random.cmd != 2 {
        let status = reply.status().expect("no response, though there is space");
        assert!(status < 134, "status {status}");
    }
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn commands(commands in vec(random_commands(), 1..40)) {
        let _alone = alone();
        let mut pair = encoder();
        let client = pair.client.as_mut().unwrap();
        let session = client.open().unwrap();
        for command in &commands {
            send(client, session, command);
        }
        works(client);
        pair.end();
    }
}

/// The commands that are not ioctls, at random but well-formed.
#[test]
fn mappings() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let session = client.open().unwrap();
    let mut state = 1_u32;
    for _ in 0..2000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let reply = client.command(CmdMmap::new(session, state & 1, state).as_bytes(), 24);
        assert_eq!(reply.status(), Some(22));
        let addr = u64::from(state) << (state % 32);
        let reply = client.command(CmdMunmap::new(addr).as_bytes(), 8);
        assert_eq!(reply.status(), Some(22));
    }
    assert_eq!(client.link.shared.requests(), (0, 0));
    let all = TABLE.iter().map(|ioctl| ioctl.size).max().unwrap();
    let bytes = [
        CmdIoctl::new(session, ioctl::G_ENC_INDEX).as_bytes(),
        &vec![0; all],
    ]
    .concat();
    assert_eq!(client.command(&bytes, 8 + all).status(), Some(25));
    works(client);
}
