// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Encoders that behave as others do that this machine lacks: with a delay, in a thread, with
//! faults.
//!
//! What they "encode" a frame to is eight bytes that no decoder takes: enough to see which frame it
//! was.

use std::collections::VecDeque;
use std::sync::Mutex;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use gstreamer_video::subclass::prelude::*;

/// What an encoder does.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Frames that it holds before the first comes out.
    pub delay: usize,
    /// Every so many frames one vanishes; 0 for none.
    pub drops: u32,
    /// It fails on this frame and those after it.
    pub fails: Option<u32>,
}

/// A piece of memory of a raw frame, as an encoder finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it is mapped.
    pub address: usize,
    /// Its first byte.
    pub first: u8,
    /// It is one of GStreamer's dmabufs.
    pub dmabuf: bool,
}

static SEEN: Mutex<Vec<Vec<Seen>>> = Mutex::new(Vec::new());
static CAPS: Mutex<Vec<gst::Caps>> = Mutex::new(Vec::new());

/// The caps that encoders of ours were told since the last call.
pub fn caps() -> Vec<gst::Caps> {
    std::mem::take(&mut CAPS.lock().unwrap())
}

/// The memory of every frame that came to an encoder of ours since the last call.
pub fn seen() -> Vec<Vec<Seen>> {
    std::mem::take(&mut SEEN.lock().unwrap())
}

fn look(frame: &gst_video::VideoCodecFrame) {
    let Some(buffer) = frame.input_buffer() else {
        return;
    };
    let memories = (0..buffer.n_memory()).map(|at| buffer.peek_memory(at));
    let seen = memories.map(|memory| {
        let map = memory.map_readable().unwrap();
        Seen {
            address: map.as_ptr() as usize,
            first: map[0],
            dmabuf: memory.is_memory_type::<gstreamer_allocators::DmaBufMemory>(),
        }
    });
    SEEN.lock().unwrap().push(seen.collect());
}

macro_rules! fake {
    ($module:ident, $name:literal, $manner:expr) => {
        fake!($module, $name, $manner, raw_caps(&[]));
    };
    ($module:ident, $name:literal, $manner:expr, $raw:expr) => {
        pub mod $module {
            use super::*;

            pub const NAME: &str = $name;

            #[derive(Default)]
            pub struct Imp {
                held: Mutex<VecDeque<u32>>,
            }

            #[glib::object_subclass]
            impl ObjectSubclass for Imp {
                const NAME: &'static str = concat!("Test", $name);
                type Type = Fake;
                type ParentType = gst_video::VideoEncoder;
            }

            glib::wrapper! {
                pub struct Fake(ObjectSubclass<Imp>)
                    @extends gst_video::VideoEncoder, gst::Element, gst::Object;
            }

            impl ObjectImpl for Imp {}
            impl GstObjectImpl for Imp {}
            impl ElementImpl for Imp {
                fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
                    static METADATA: std::sync::LazyLock<gst::subclass::ElementMetadata> =
                        std::sync::LazyLock::new(|| {
                            gst::subclass::ElementMetadata::new(
                                $name,
                                "Codec/Encoder/Video",
                                "encoder of a test",
                                "nobody",
                            )
                        });
                    Some(&METADATA)
                }

                fn pad_templates() -> &'static [gst::PadTemplate] {
                    static TEMPLATES: std::sync::LazyLock<Vec<gst::PadTemplate>> =
                        std::sync::LazyLock::new(|| templates($raw));
                    TEMPLATES.as_ref()
                }
            }

            impl VideoEncoderImpl for Imp {
                fn set_format(
                    &self,
                    state: &gst_video::VideoCodecState<
                        'static,
                        gst_video::video_codec_state::Readable,
                    >,
                ) -> Result<(), gst::LoggableError> {
                    CAPS.lock().unwrap().extend(state.caps_owned());
                    let caps = gst::Caps::builder("video/x-h264")
                        .field("stream-format", "byte-stream")
                        .field("alignment", "au")
                        .build();
                    let encoder = self.obj();
                    let output = encoder
                        .set_output_state(caps, Some(state))
                        .map_err(|_| gst::loggable_error!(gst::CAT_RUST, "no output state"))?;
                    encoder
                        .negotiate(output)
                        .map_err(|_| gst::loggable_error!(gst::CAT_RUST, "not negotiated"))
                }

                fn handle_frame(
                    &self,
                    frame: gst_video::VideoCodecFrame,
                ) -> Result<gst::FlowSuccess, gst::FlowError> {
                    let manner: Manner = $manner;
                    let number = frame.system_frame_number();
                    if manner.fails.is_some_and(|first| number >= first) {
                        gst::element_imp_error!(self, gst::StreamError::Encode, ["told to fail"]);
                        return Err(gst::FlowError::Error);
                    }
                    look(&frame);
                    drop(frame);
                    let mut held = self.held.lock().unwrap();
                    held.push_back(number);
                    while held.len() > manner.delay {
                        let number = held.pop_front().unwrap();
                        give_out(self.obj().upcast_ref(), number, manner)?;
                    }
                    Ok(gst::FlowSuccess::Ok)
                }

                fn finish(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
                    for number in std::mem::take(&mut *self.held.lock().unwrap()) {
                        give_out(self.obj().upcast_ref(), number, $manner)?;
                    }
                    Ok(gst::FlowSuccess::Ok)
                }
            }
        }
    };
}

/// What an encoder takes: plain frames, and those of the given memory and format.
fn raw_caps(others: &[(&str, &str)]) -> gst::Caps {
    let mut caps = gst_video::VideoCapsBuilder::new()
        .format_list([gst_video::VideoFormat::Nv12, gst_video::VideoFormat::I420])
        .build();
    for (feature, format) in others {
        let other = gst::Caps::builder("video/x-raw")
            .features([*feature])
            .field("format", *format)
            .build();
        caps.merge(other);
    }
    caps
}

fn templates(raw: gst::Caps) -> Vec<gst::PadTemplate> {
    let coded = gst::Caps::new_empty_simple("video/x-h264");
    let always = gst::PadPresence::Always;
    vec![
        gst::PadTemplate::new("sink", gst::PadDirection::Sink, always, &raw).unwrap(),
        gst::PadTemplate::new("src", gst::PadDirection::Src, always, &coded).unwrap(),
    ]
}

fn give_out(
    encoder: &gst_video::VideoEncoder,
    number: u32,
    manner: Manner,
) -> Result<gst::FlowSuccess, gst::FlowError> {
    let Some(mut frame) = encoder.frame(number as i32) else {
        return Err(gst::FlowError::Error);
    };
    if manner.drops == 0 || !(number + 1).is_multiple_of(manner.drops) {
        let mut data = vec![0, 0, 0, 1];
        data.extend(number.to_be_bytes());
        frame.set_output_buffer(gst::Buffer::from_slice(data));
        if number == 0 {
            frame.set_flags(gst_video::VideoCodecFrameFlags::SYNC_POINT);
        }
    }
    encoder.finish_frame(frame)
}

fake!(
    slow,
    "fakeslowenc",
    Manner {
        delay: 3,
        drops: 0,
        fails: None
    }
);
fake!(
    prompt,
    "fakepromptenc",
    Manner {
        delay: 0,
        drops: 0,
        fails: None
    }
);
fake!(
    dmabuf,
    "fakedmabufenc",
    Manner {
        delay: 0,
        drops: 0,
        fails: None
    },
    raw_caps(&[("memory:DMABuf", "NV12")])
);
fake!(
    dropping,
    "fakedropenc",
    Manner {
        delay: 0,
        drops: 4,
        fails: None
    }
);
fake!(
    failing,
    "fakefailenc",
    Manner {
        delay: 0,
        drops: 0,
        fails: Some(2)
    }
);

fake!(
    dead,
    "fakedeadenc",
    Manner {
        delay: 0,
        drops: 0,
        fails: Some(0)
    }
);

/// Makes GStreamer know them.
pub fn register() {
    gst::init().unwrap();
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let rank = gst::Rank::NONE;
        gst::Element::register(None, slow::NAME, rank, slow::Fake::static_type()).unwrap();
        gst::Element::register(None, prompt::NAME, rank, prompt::Fake::static_type()).unwrap();
        gst::Element::register(None, dmabuf::NAME, rank, dmabuf::Fake::static_type()).unwrap();
        gst::Element::register(None, dropping::NAME, rank, dropping::Fake::static_type()).unwrap();
        gst::Element::register(None, dead::NAME, rank, dead::Fake::static_type()).unwrap();
        gst::Element::register(None, failing::NAME, rank, failing::Fake::static_type()).unwrap();
    });
}
