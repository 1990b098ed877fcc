// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Objects of other devices: what the VMM is asked, and what becomes of its answers, good and bad.

mod common;

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::encoder::works;
use common::{Pair, no_udmabuf, panics};
use frontend::client::Mapping;
use frontend::objects::Answer;
use frontend::stream::{Memory, Settings, Step, Stream};
use frontend::{Client, Options, PATIENCE};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use protocol::wire::ioctl;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::Timeval;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserSharedMsg;
use virtio_v4l2d::config::{DeviceSpec, Limits};
use virtio_v4l2d::memory::probe_udmabuf;
use vm_memory::ByteValued;

const SIZE: usize = 320 * 240 * 3 / 2;

fn pair(options: &Options) -> Pair {
    let device = virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap();
    // Too small for an arena: every MMAP is a request to the VMM.
    let limits = Limits {
        shm_size: 16 << 20,
        ..Limits::default()
    };
    Pair::limited(device, options, limits)
}

fn settings(output_memory: Memory) -> Settings {
    Settings {
        output_memory,
        output_buffers: 1,
        ..Settings::h264(320, 240)
    }
}

fn frame() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 97 + at % 61) as u8).collect()
}

/// What another device's dmabuf is played by: a file of `len` bytes that cannot shrink, with a
/// frame in it.
fn object(len: usize, seals: SealFlag) -> File {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"object", flags).unwrap());
    file.write_all(&frame()[..len.min(SIZE)]).unwrap();
    file.set_len(len as u64).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file
}

fn good() -> File {
    object(
        SIZE.next_multiple_of(4096),
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW,
    )
}

/// A session whose raw frames are objects.
fn start(client: &mut Client) -> Stream {
    let mut stream = Stream::start(client, &settings(Memory::Objects)).unwrap();
    let len = SIZE as u64;
    stream.output.buffers = vec![vec![Mapping { addr: 0, len }]];
    stream
}

/// Queues the object `uuid` as a raw frame.
#[track_caller]
fn queue(client: &mut Client, stream: &mut Stream, uuid: [u8; 16]) -> Result<(), Errno> {
    stream.output.objects = vec![vec![Uuid(uuid)]];
    let (mut buffer, mut planes) = (stream.output.buffer(0), stream.output.planes(0));
    let lists = stream.output.lists(0);
    client.buffer(
        stream.session,
        ioctl::QBUF,
        &mut buffer,
        &mut planes,
        &lists,
    )
}

/// The next coded frame.
#[track_caller]
fn coded(client: &mut Client, stream: &mut Stream) -> Vec<u8> {
    loop {
        match stream.step(client) {
            Step::Coded(coded) => return coded.data,
            Step::Taken(error) => assert!(!error),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_object_of_another_device_is_encoded() {
    let mut pair = pair(&Options::default());
    let client = &mut *pair;
    let mut mmap = Stream::start(client, &settings(Memory::Mmap)).unwrap();
    mmap.queue_frame(client, &frame(), Timeval::default())
        .unwrap();
    let expected = coded(client, &mut mmap);
    mmap.end(client);

    let mut stream = start(client);
    let objects = client.link.shared.clone();
    objects.objects.answer([7; 16], Answer::Files(vec![good()]));
    queue(client, &mut stream, [7; 16]).unwrap();
    assert!(coded(client, &mut stream) == expected);
    assert_eq!(objects.objects.looked_for(), [[7; 16]]);
    client.close(stream.session);
    works(client);
    assert_eq!(panics(), 0);
}

#[test]
fn bad_answers_are_refusals() {
    let mut pair = pair(&Options::default());
    let client = &mut *pair;
    let mut stream = start(client);
    let shared = client.link.shared.clone();
    let null = || File::open("/dev/null").unwrap();
    let sealed = SealFlag::F_SEAL_SHRINK;
    for (case, answer) in [
        Answer::Refusal,
        Answer::RefusalWith(good()),
        Answer::Files(Vec::new()),
        Answer::Files(vec![null()]),
        Answer::Files(vec![File::open("/").unwrap()]),
        Answer::Files(vec![object(SIZE, SealFlag::empty())]),
        Answer::Files(vec![object(SIZE / 2, sealed)]),
    ]
    .into_iter()
    .enumerate()
    {
        let uuid = [case as u8; 16];
        shared.objects.answer(uuid, answer);
        let refused = queue(client, &mut stream, uuid);
        assert_eq!(refused, Err(Errno::EINVAL), "case {case}");
        // The next one is found.
        let uuid = [100 + case as u8; 16];
        shared.objects.answer(uuid, Answer::Files(vec![good()]));
        let found = queue(client, &mut stream, uuid);
        assert_eq!(found, Ok(()), "after case {case}");
        coded(client, &mut stream);
    }
    client.close(stream.session);
    works(client);
    assert_eq!(panics(), 0);
}

/// Answers that show that the two do not speak of the same: nothing is asked any more, and nothing
/// else suffers.
#[test]
fn nonsense_ends_the_conversation() {
    for answer in [Answer::Nonsense, Answer::Files(vec![good(), good()])] {
        let mut pair = pair(&Options::default());
        let client = &mut *pair;
        let mut stream = start(client);
        let shared = client.link.shared.clone();
        shared.objects.answer([1; 16], answer);
        for _ in 0..2 {
            let refused = queue(client, &mut stream, [1; 16]);
            assert_eq!(refused, Err(Errno::EINVAL));
        }
        assert_eq!(shared.objects.looked_for().len(), 1);
        client.close(stream.session);
        assert!(client.open().is_ok());
    }
    assert_eq!(panics(), 0);
}

/// An answer that comes too late is not taken for that to another request.
#[test]
fn a_late_answer() {
    let mut pair = pair(&Options::default());
    let client = &mut *pair;
    let mut stream = start(client);
    let shared = client.link.shared.clone();
    let (answer, when) = channel();
    shared.objects.answer([1; 16], Answer::Late(good(), when));
    for _ in 0..3 {
        let refused = queue(client, &mut stream, [1; 16]);
        assert_eq!(refused, Err(Errno::EINVAL));
    }
    assert_eq!(shared.objects.looked_for().len(), 1, "one at a time");
    drop(answer);
    // Requests of another kind are answered behind it.
    let mmap = Stream::start(client, &settings(Memory::Mmap)).unwrap();
    mmap.end(client);
    shared.objects.answer([2; 16], Answer::Files(vec![good()]));
    queue(client, &mut stream, [2; 16]).unwrap();
    coded(client, &mut stream);
    client.close(stream.session);
    assert_eq!(panics(), 0);
}

/// A VMM that has no objects is not asked.
#[test]
fn a_vmm_without_objects() {
    let mut pair = pair(&Options {
        objects: false,
        ..Options::default()
    });
    let client = &mut *pair;
    let mut stream = start(client);
    assert_eq!(queue(client, &mut stream, [1; 16]), Err(Errno::EINVAL));
    assert_eq!(client.link.shared.objects.looked_for().len(), 0);
    client.close(stream.session);
    let mmap = Stream::start(client, &settings(Memory::Mmap)).unwrap();
    mmap.export(client).unwrap();
    mmap.end(client);
    assert_eq!(client.link.shared.objects.added().len(), 0);
}

/// The VMM asks for the file of an object, for another device: there is one where the host has
/// udmabuf.
#[test]
fn the_vmm_asks_for_an_object() {
    let mut pair = pair(&Options::default());
    let client = &mut *pair;
    let mmap = Stream::start(client, &settings(Memory::Mmap)).unwrap();
    let uuid = mmap.export(client).unwrap()[0][0];
    let ask = |client: &mut Client, bytes: &[u8; 16]| {
        let mut object = VhostUserSharedMsg::default();
        object.as_mut_slice().copy_from_slice(bytes);
        client.link.frontend().get_shared_object(&object).ok()
    };
    assert!(ask(client, &[0x55; 16]).is_none(), "nobody's");
    let file = ask(client, &uuid.0);
    assert_eq!(file.is_some(), probe_udmabuf());
    if let Some(file) = file {
        let len = file.metadata().unwrap().len();
        assert!(len >= SIZE as u64, "{len}");
    } else {
        no_udmabuf();
    }
    mmap.end(client);
    assert!(ask(client, &uuid.0).is_none(), "it is gone");
    works(client);
    assert_eq!(panics(), 0);
}

/// What is exported is made known once, for as long as it lives.
#[test]
fn exported_buffers_are_made_known() {
    let mut pair = pair(&Options::default());
    let client = &mut *pair;
    let shared = client.link.shared.clone();
    let mmap = Stream::start(client, &settings(Memory::Mmap)).unwrap();
    let uuids = mmap.export(client).unwrap();
    mmap.export(client).unwrap();
    assert_eq!(shared.objects.added(), [uuids[0][0].0]);
    assert_eq!(shared.objects.removed().len(), 0);
    mmap.end(client);
    let deadline = Instant::now() + PATIENCE;
    while shared.objects.removed().is_empty() {
        assert!(Instant::now() < deadline, "it is never removed");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(shared.objects.removed(), shared.objects.added());
}
