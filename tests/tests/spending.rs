// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a guest can make the host spend: `--max-memory` holds, whatever it does.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use common::encoder::{encoder, encoder_limited, works};
use common::{Pair, alone};
use frontend::pages::PAGE;
use frontend::stream::{Memory, Settings, Stream};
use frontend::{Client, Options};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::SgEntry;
use virtio_v4l2d::config::{DeviceSpec, Limits};
use virtio_v4l2d::device::encoder::catalogue;
use zerocopy::IntoBytes;

const MIB: usize = 1 << 20;
const LIMIT: usize = 64 * MIB;

fn limited() -> Pair {
    encoder_limited(Limits {
        max_memory: LIMIT,
        ..Limits::default()
    })
}

/// Bytes that the files of MMAP buffers hold in this process.
fn held() -> u64 {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let blocks: BTreeMap<u64, u64> = files
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = std::fs::read_link(&path).ok()?;
            let ours = target.to_string_lossy().contains("virtio-v4l2 buffer");
            let file = std::fs::metadata(&path).ok().filter(|_| ours)?;
            // The frontend has the same file.
            Some((file.ino(), file.blocks()))
        })
        .collect();
    blocks.values().sum::<u64>() * 512
}

/// Bytes of the MMAP buffers of a stream.
fn buffers(stream: &Stream) -> u64 {
    let all = stream.output.buffers.iter().chain(&stream.capture.buffers);
    all.flatten()
        .map(|mapping| mapping.len.next_multiple_of(PAGE as u64))
        .sum()
}

/// Writes all of the region that is mapped without a gap, as the guest's kernel can. Returns how
/// much that is.
fn fill(client: &Client) -> u64 {
    let chunk = vec![0x5a; MIB];
    let mut at = 0;
    while at < 8 * LIMIT as u64 && client.link.shared.write(at, &chunk).is_ok() {
        at += MIB as u64;
    }
    at
}

fn is_zero(client: &Client, stream: &Stream) -> bool {
    let buffers = stream.output.buffers.iter().chain(&stream.capture.buffers);
    buffers.flatten().all(|mapping| {
        let bytes = client.link.shared.read(mapping.addr, mapping.len as usize);
        bytes.unwrap().iter().all(|byte| *byte == 0)
    })
}

/// The guest sees the whole file that its MMAP buffers are in, and writes where no buffer is.
#[test]
fn what_is_written_where_no_buffer_is() {
    let _alone = alone();
    let settings = Settings::h264(176, 144);
    let mut pair = limited();
    let client = pair.client.as_mut().unwrap();
    let first = Stream::start(client, &settings).unwrap();
    assert!(is_zero(client, &first));
    let filled = fill(client);
    assert!(filled > 0 && filled <= LIMIT as u64, "{filled}");
    // The next one finds zeros, and what nobody has is given back.
    let second = Stream::start(client, &settings).unwrap();
    assert!(is_zero(client, &second));
    let most = buffers(&first) + buffers(&second);
    assert!(held() <= most, "{} of {most}", held());
    first.end(client);
    second.end(client);
    assert_eq!(held(), 0);
    // With nobody there at all.
    assert_eq!(fill(client), filled);
    let third = Stream::start(client, &settings).unwrap();
    assert!(is_zero(client, &third));
    assert!(held() <= buffers(&third));
    third.end(client);
    assert_eq!(held(), 0);
    works(client);
}

/// An encoder is charged before it is made: of a size for which there is no space, none is.
#[test]
fn encoders() {
    let _alone = alone();
    let large = Settings {
        output_buffers: 1,
        capture_buffers: 1,
        ..Settings::h264(1920, 1088)
    };
    let prepare = |pair: &mut Pair| {
        let session = pair.open().unwrap();
        Stream::prepare(pair, session, &large).unwrap()
    };
    let one = catalogue::find("h264")
        .unwrap()
        .memory((large.width, large.height), 1);
    let mut pair = encoder();
    let of_buffers = buffers(&prepare(&mut pair)) as usize;
    pair.end();
    // Room for the buffers of three, but for two encoders.
    let mut pair = encoder_limited(Limits {
        max_memory: 3 * of_buffers + 5 * one / 2,
        ..Limits::default()
    });
    let [mut first, mut second, mut third] = [(); 3].map(|()| prepare(&mut pair));
    let client = pair.client.as_mut().unwrap();
    first.streamon(client).unwrap();
    second.streamon(client).unwrap();
    assert_eq!(third.streamon(client), Err(Errno::ENOMEM));
    // It is as if nobody had asked: with an encoder less there is space.
    second.end(client);
    third.streamon(client).unwrap();
    third.end(client);
    works(client);
    first.end(client);
}

/// Lists of pages that are remembered, and tables of the kernel for what is mapped.
#[test]
fn lists_of_pages() {
    let _alone = alone();
    let options = Options {
        memory: vec![(0, 64 * MIB)],
        ..Options::default()
    };
    let device = virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap();
    let limits = Limits {
        max_memory: 16 * MIB,
        ..Limits::default()
    };
    let mut pair = Pair::limited(device, &options, limits);
    let client = pair.client.as_mut().unwrap();
    let memory = client.link.memory.alloc(48 * MIB, PAGE as u64);
    let pages = (0..memory.len as usize / PAGE).map(|n| memory.addr + (n * PAGE) as u64);
    // In a row, so that it is one mapping; a list of 192 KiB all the same.
    let list: Vec<_> = pages.map(|at| SgEntry::new(at, PAGE as u32)).collect();
    let settings = Settings {
        output_buffers: 32,
        output_memory: Memory::InARow,
        ..Settings::h264(176, 144)
    };
    let (mut sessions, mut refused) = (Vec::new(), 0);
    for _ in 0..4 {
        let session = client.open().unwrap();
        let stream = Stream::prepare(client, session, &settings).unwrap();
        for index in 0..32 {
            let mut buffer = stream.output.buffer(index);
            let mut planes = stream.output.planes(index);
            let list = &list[index as usize..];
            planes[0].length = (PAGE * list.len()) as u32;
            let lists = list.as_bytes();
            match client.buffer(session, ioctl::QBUF, &mut buffer, &mut planes, lists) {
                Ok(()) => {}
                Err(errno) => {
                    assert_eq!(errno, Errno::ENOMEM);
                    refused += 1;
                }
            }
        }
        sessions.push(session);
    }
    assert!(refused > 0, "24 MiB of lists, for 16 MiB");
    for session in sessions {
        client.close(session);
    }
    works(client);
}
