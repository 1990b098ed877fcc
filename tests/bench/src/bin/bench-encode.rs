// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The encoder on its own: raw frames from memory go into the element that the daemon used, with
//! the properties that the daemon's log names, and what comes out is counted and dropped. Prints
//! one line of JSON.
//!
//! `line=` is that line of the log, `source=`, `size=`, `warmup=`, `frames=` and `label=` as of the
//! guest's client.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use bench::{Arguments, FRAMES, Window};
use e2e::counters::threads::cpu_time;
use gstreamer as gst;
use gstreamer::prelude::*;

fn main() -> Result<()> {
    let arguments = Arguments::new()?;
    gst::init()?;
    let frames: Vec<_> = arguments
        .frames()?
        .into_iter()
        .map(gst::Memory::from_slice)
        .collect();
    let window = Arc::new(Mutex::new(Window::new(usize::MAX)));
    let encoder = encoder(arguments.text("line")?, &window)?;

    let (warmup, count) = (arguments.number("warmup")?, arguments.number("frames")?);
    ensure!(count > FRAMES, "frames= has to be more than {FRAMES}");
    let us = i32::try_from(std::process::id())?;
    let mut begun = 0;
    for number in 0..warmup + count {
        if number == warmup {
            *lock(&window) = Window::new(count);
            begun = cpu_time(us, "");
        }
        let mut buffer = gst::Buffer::new();
        if let Some(buffer) = buffer.get_mut() {
            buffer.append_memory(frames[number % FRAMES].clone());
            // As the daemon does: 25 frames per second.
            buffer.set_pts(gst::ClockTime::from_mseconds(40 * number as u64));
            buffer.set_duration(gst::ClockTime::from_mseconds(40));
        }
        encoder.raw.push(buffer)?;
    }
    let used = cpu_time(us, "") - begun;
    let window = lock(&window);
    ensure!(
        window.complete(),
        "the encoder did not give each frame at once"
    );
    println!("{}", window.report(arguments.text("label")?, used));
    encoder.pipeline.set_state(gst::State::Null)?;
    Ok(())
}

fn lock(window: &Mutex<Window>) -> std::sync::MutexGuard<'_, Window> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running encoder, and our pads before and behind it: links do not keep them.
struct Encoder {
    raw: gst::Pad,
    pipeline: gst::Pipeline,
    _coded: gst::Pad,
}

/// The encoder that a line of the daemon's log tells of, between pads of ours, running.
fn encoder(line: &str, window: &Arc<Mutex<Window>>) -> Result<Encoder> {
    let parts = || {
        let (_, rest) = line.split_once("encoding ")?;
        let (caps, rest) = rest.split_once(" with ")?;
        // gst-launch-1.0 filesrc, rawvideoparse, encoder, caps, filesink.
        let mut elements = rest.split(" ! ").map(str::trim).skip(2);
        Some((caps, elements.next()?, elements.next()?))
    };
    let (caps, encoder, coded) = parts().with_context(|| format!("not the daemon's: {line}"))?;
    let caps: gst::Caps = caps.parse().with_context(|| caps.to_owned())?;
    // As a filter: caps at the end of a bin would be taken for an element.
    let encoder = format!("{encoder} ! capsfilter caps={}", coded.replace('\'', "\""));
    let bin = gst::parse::bin_from_description(&encoder, true)?;
    let pipeline = gst::Pipeline::new();
    pipeline.add(&bin)?;

    let window = Arc::clone(window);
    let coded = gst::Pad::builder(gst::PadDirection::Sink)
        .name("coded")
        .chain_function(move |_, _, buffer| {
            lock(&window).coded(buffer.size());
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|_, _, _| true)
        .build();
    let raw = gst::Pad::builder(gst::PadDirection::Src)
        .name("raw")
        .build();
    raw.link(&bin.static_pad("sink").context("no pad sink")?)?;
    bin.static_pad("src").context("no pad src")?.link(&coded)?;
    coded.set_active(true)?;
    pipeline.set_state(gst::State::Playing)?;
    raw.set_active(true)?;
    for event in [
        gst::event::StreamStart::new("bench"),
        gst::event::Caps::new(&caps),
        gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()),
    ] {
        ensure!(raw.push_event(event), "the encoder refuses {caps}");
    }
    Ok(Encoder {
        raw,
        pipeline,
        _coded: coded,
    })
}
