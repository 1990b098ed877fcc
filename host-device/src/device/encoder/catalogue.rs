// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The table of codecs and of the elements that encode them.
//!
//! One row per codec: V4L2 format ↔ caps ↔ elements in order of preference ↔ what each element's
//! properties are made of. A new encoder is a row.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::params::Params;
use super::settings::Settings;

mod rows;
pub use rows::ROWS;

/// A coded format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// H.264 (AVC).
    H264,
    /// H.265.
    Hevc,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
}

/// When a property of an element may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the element runs.
    Start,
    /// Also while it runs.
    Live,
}

/// A property of an element, and what it is made of.
#[derive(Clone, Copy)]
pub struct Property {
    /// Its name. Elements that lack it (older versions) are used without it.
    pub name: &'static str,
    /// When it may be set.
    pub when: When,
    /// Its value, written as for gst-launch; `None` leaves the default.
    pub value: fn(&Params) -> Option<String>,
}

/// An element that encodes.
#[derive(Clone, Copy)]
pub struct Element {
    /// Name of its factory.
    pub factory: &'static str,
    /// Debian package it comes in.
    pub package: &'static str,
    /// Its properties.
    pub properties: &'static [Property],
}

/// What a software encoder takes, in bytes: measured with the elements that come first, and rounded
/// up.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Whatever it encodes.
    pub base: usize,
    /// For each pixel of a frame: what it refers to, and what it works on.
    pub pixel: usize,
    /// For each thread.
    pub thread: usize,
}

/// A codec.
#[derive(Clone, Copy)]
pub struct Row {
    /// Which.
    pub codec: Codec,
    /// Name in options and logs.
    pub name: &'static str,
    /// `V4L2_PIX_FMT_*`.
    pub fourcc: u32,
    /// What the kernel calls it in VIDIOC_ENUM_FMT.
    pub description: &'static str,
    /// Name of its caps.
    pub media: &'static str,
    /// Caps to ask the element for.
    pub caps: fn(&Params) -> gst::Caps,
    /// Memory of an encoder.
    pub footprint: Footprint,
    /// Elements, best first.
    pub elements: &'static [Element],
}

impl Row {
    /// Bytes that an encoder of frames of this size takes, with so many threads: an estimate, no
    /// less than what was measured.
    pub fn memory(&self, (width, height): (u32, u32), threads: u32) -> usize {
        let Footprint {
            base,
            pixel,
            thread,
        } = self.footprint;
        let pixels = (width as usize).saturating_mul(height as usize);
        base.saturating_add(pixels.saturating_mul(pixel))
            .saturating_add(thread.saturating_mul(threads as usize))
    }
}

impl Codec {
    /// The codec's row.
    pub fn row(self) -> &'static Row {
        let [h264, hevc, vp8, vp9] = ROWS;
        match self {
            Self::H264 => h264,
            Self::Hevc => hevc,
            Self::Vp8 => vp8,
            Self::Vp9 => vp9,
        }
    }

    /// `V4L2_PIX_FMT_*`.
    pub fn fourcc(self) -> u32 {
        self.row().fourcc
    }

    /// Name in options and logs.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

impl std::str::FromStr for Codec {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        ROWS.iter()
            .find(|row| row.name == name)
            .map(|row| row.codec)
            .ok_or_else(|| {
                let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                anyhow::anyhow!("unknown codec {name:?}; known are {}", names.join(", "))
            })
    }
}

/// The element that a codec is encoded with on this host.
#[derive(Clone, Debug)]
pub struct SelectedElement {
    /// Which codec.
    pub codec: Codec,
    /// Makes the element.
    pub factory: gst::ElementFactory,
}

impl SelectedElement {
    /// Properties for `params`, in order: all, or those that may be set at a certain time.
    pub fn properties(&self, params: &Params, when: Option<When>) -> Vec<(&'static str, String)> {
        let name = self.factory.name();
        let Some(element) = self
            .codec
            .row()
            .elements
            .iter()
            .find(|element| element.factory == name)
        else {
            // An element that the table does not know runs with its own defaults.
            return Vec::new();
        };
        element
            .properties
            .iter()
            .filter(|property| when.is_none_or(|when| property.when == when))
            .filter_map(|property| Some((property.name, (property.value)(params)?)))
            .collect()
    }
}

/// Finds an element for every codec.
///
/// The one named in the settings; else, by rank if the settings say so, the element of the table
/// with the highest rank; else the first of the table that the host has.
///
/// # Errors
///
/// An element that was named does not exist, or no codec has one.
pub fn choose(settings: &Settings) -> anyhow::Result<Vec<SelectedElement>> {
    let mut all = Vec::new();
    for row in ROWS {
        let selected = match settings.elements.get(&row.codec) {
            Some(name) => Some(named(row, name)?),
            None if settings.by_rank => row
                .elements
                .iter()
                .filter_map(|element| gst::ElementFactory::find(element.factory))
                // The first of equal rank: `max_by_key` would take the last.
                .rev()
                .max_by_key(PluginFeatureExtManual::rank),
            None => row
                .elements
                .iter()
                .find_map(|element| gst::ElementFactory::find(element.factory)),
        };
        all.extend(selected.map(|factory| SelectedElement {
            codec: row.codec,
            factory,
        }));
    }
    anyhow::ensure!(
        all.iter().any(|selected| selected.codec == Codec::H264)
            || !settings.elements.is_empty() && !all.is_empty(),
        "no H.264 encoder: GStreamer has no x264enc.\n\
         Install it with: apt install gstreamer1.0-plugins-ugly (or name another with --encoder h264=ELEMENT)"
    );
    Ok(all)
}

fn named(row: &Row, name: &str) -> anyhow::Result<gst::ElementFactory> {
    let factory = gst::ElementFactory::find(name).ok_or_else(|| {
        let package = row
            .elements
            .iter()
            .find(|element| element.factory == name)
            .map_or_else(String::new, |element| {
                format!("; it is in the Debian package {}", element.package)
            });
        anyhow::anyhow!(
            "--encoder {}={name}: GStreamer has no such element{package}",
            row.name
        )
    })?;
    anyhow::ensure!(
        factory.has_type(gst::ElementFactoryType::VIDEO_ENCODER),
        "--encoder {}={name}: the element is not a video encoder",
        row.name
    );
    let media = gst::Caps::new_empty_simple(row.media);
    anyhow::ensure!(
        factory
            .static_pad_templates()
            .iter()
            .any(|template| template.direction() == gst::PadDirection::Src
                && template.caps().can_intersect(&media)),
        "--encoder {}={name}: the element does not encode {}",
        row.name,
        row.description
    );
    Ok(factory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_where_codecs_look_for_them() {
        for row in ROWS {
            assert_eq!(row.codec.fourcc(), row.fourcc);
            assert_eq!(row.name.parse::<Codec>().unwrap(), row.codec);
        }
        assert!("h263".parse::<Codec>().is_err());
    }

    /// MiB that the first element of each codec took, as `VmHWM` told.
    #[test]
    fn estimates_are_no_less_than_what_was_measured() {
        let measured: [(Codec, u32, u32, u32, usize); 12] = [
            (Codec::H264, 1280, 720, 1, 22),
            (Codec::H264, 4096, 2304, 4, 167),
            (Codec::H264, 4096, 2304, 16, 173),
            (Codec::Hevc, 176, 144, 1, 9),
            (Codec::Hevc, 1280, 720, 1, 54),
            (Codec::Hevc, 4096, 2304, 16, 339),
            (Codec::Vp8, 1280, 720, 1, 32),
            (Codec::Vp8, 4096, 2304, 4, 322),
            (Codec::Vp9, 176, 144, 1, 12),
            (Codec::Vp9, 1280, 720, 1, 80),
            (Codec::Vp9, 4096, 2304, 4, 677),
            (Codec::Vp9, 4096, 2304, 16, 747),
        ];
        for (codec, width, height, threads, mib) in measured {
            let estimate = codec.row().memory((width, height), threads) >> 20;
            assert!(
                estimate >= mib,
                "{codec:?} {width}x{height}: {estimate} of {mib}"
            );
        }
        assert_eq!(ROWS[0].memory((u32::MAX, u32::MAX), u32::MAX), usize::MAX);
    }

    #[test]
    fn unknown_elements_are_refused_by_name() {
        gst::init().unwrap();
        let settings: Settings = Settings {
            elements: [(Codec::H264, "nosuchenc".to_owned())].into(),
            ..Settings::default()
        };
        let error = choose(&settings).unwrap_err().to_string();
        assert!(error.contains("nosuchenc"), "{error}");
        let settings = Settings {
            elements: [(Codec::H264, "identity".to_owned())].into(),
            ..Settings::default()
        };
        assert!(
            choose(&settings)
                .unwrap_err()
                .to_string()
                .contains("not a video encoder")
        );
        let settings = Settings {
            elements: [(Codec::H264, "vp8enc".to_owned())].into(),
            ..Settings::default()
        };
        let error = choose(&settings).unwrap_err().to_string();
        assert!(error.contains("does not encode H.264"), "{error}");
    }
}
