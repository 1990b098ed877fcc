// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What an operator sets once for the encoder device.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};

use super::catalogue;
use crate::config::DeviceSpec;
use crate::device::gst::formats;
use crate::v4l2::core::pixel::PixelFormat;

/// Options of the encoder device; the same for all of its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Elements that stand in for those of the catalogue, by the codec's name.
    pub elements: BTreeMap<&'static str, String>,
    /// Take the element of the highest rank instead of the first of the catalogue.
    pub by_rank: bool,
    /// Threads of a software encoder, per session; by default as many as frames of that size need.
    /// With more than one x264 cuts frames into slices.
    pub threads: Option<u32>,
    /// `speed-preset` of x264enc and x265enc; each has its own default.
    pub preset: Option<String>,
    /// Name of the device, as VIDIOC_QUERYCAP tells.
    pub card: String,
    /// Sessions that may be open at once.
    pub max_sessions: usize,
    /// Raw formats that are offered, in order.
    pub formats: Vec<&'static PixelFormat>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            elements: BTreeMap::new(),
            by_rank: false,
            threads: None,
            preset: None,
            card: "virtio-v4l2 encoder".to_owned(),
            max_sessions: 256,
            formats: formats::default(),
        }
    }
}

impl Settings {
    /// The settings that `spec` has, and defaults.
    ///
    /// # Errors
    ///
    /// There is no such setting or codec.
    pub fn of(spec: &DeviceSpec) -> Result<Self> {
        let mut settings = Self::default();
        for (key, value) in &spec.settings {
            settings.set(key, value)?;
        }
        for (codec, element) in &spec.elements {
            settings.element(codec, element)?;
        }
        Ok(settings)
    }

    /// Takes one `CODEC=ELEMENT` of `--encoder`, like `h264`, `vah264enc`.
    ///
    /// # Errors
    ///
    /// There is no such codec.
    pub fn element(&mut self, codec: &str, element: &str) -> Result<()> {
        let row = catalogue::find(codec).context("--encoder")?;
        self.elements.insert(row.name, element.to_owned());
        Ok(())
    }

    /// Takes one `key=value` of `--device encoder,key=value`: `preset`, `threads`, `rank`, `card`,
    /// `sessions`, `formats`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the key or the value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "preset" => {
                let presets = catalogue::presets();
                ensure!(
                    presets.contains(&value),
                    "preset={value}: known are {}",
                    presets.join(", ")
                );
                self.preset = Some(value.to_owned());
            }
            "threads" => {
                let threads = number(key, value)?;
                ensure!((1..=64).contains(&threads), "threads={value}: 1 to 64");
                self.threads = Some(threads);
            }
            "rank" => {
                self.by_rank = bool::from_str(value)
                    .with_context(|| format!("rank={value}: true or false"))?;
            }
            "card" => {
                ensure!(
                    !value.is_empty() && value.len() <= 31,
                    "card={value}: 1 to 31 bytes"
                );
                self.card = value.to_owned();
            }
            "sessions" => {
                let sessions: u32 = number(key, value)?;
                ensure!(sessions > 0, "sessions={value}: at least 1");
                self.max_sessions = sessions as usize;
            }
            "formats" => self.formats = parse_formats(value)?,
            _ => bail!(
                "device encoder has no option {key:?}; it has preset, threads, rank, card, \
                 sessions, formats"
            ),
        }
        Ok(())
    }
}

/// Takes `NAME+NAME+…`, or `all`.
fn parse_formats(value: &str) -> Result<Vec<&'static PixelFormat>> {
    if value == "all" {
        return Ok(formats::all().collect());
    }
    let mut chosen: Vec<&'static PixelFormat> = Vec::new();
    for name in value.split('+') {
        let format = formats::all()
            .find(|format| format.name().eq_ignore_ascii_case(name))
            .with_context(|| {
                let names: Vec<_> = formats::all().map(PixelFormat::name).collect();
                format!("formats={value}: {name:?} is none of {}", names.join(", "))
            })?;
        ensure!(
            !chosen.contains(&format),
            "formats={value}: {name} is there twice"
        );
        chosen.push(format);
    }
    Ok(chosen)
}

fn number(key: &str, value: &str) -> Result<u32> {
    value
        .parse()
        .with_context(|| format!("{key}={value}: not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused_by_name() {
        let mut settings = Settings::default();
        settings.element("h264", "openh264enc").unwrap();
        settings.element("vp8", "vp8enc").unwrap();
        assert_eq!(settings.elements["h264"], "openh264enc");
        assert_eq!(settings.elements["vp8"], "vp8enc");
        assert!(settings.element("h999", "x").is_err());
        settings.set("preset", "veryfast").unwrap();
        settings.set("threads", "2").unwrap();
        settings.set("rank", "true").unwrap();
        assert_eq!((settings.threads, settings.by_rank), (Some(2), true));
        assert!(settings.formats.iter().all(|format| format.planes() == 1));
        settings.set("formats", "all").unwrap();
        assert_eq!(settings.formats.len(), formats::all().count());
        settings.set("formats", "nm12+NV12").unwrap();
        let names: Vec<_> = settings.formats.iter().map(|f| f.name()).collect();
        assert_eq!(names, ["NM12", "NV12"]);
        for (key, value) in [
            ("sink", "1"),
            ("preset", "warp"),
            ("threads", "0"),
            ("threads", "x"),
            ("rank", "1"),
            ("card", ""),
            ("sessions", "0"),
            ("speed", "9"),
            ("formats", ""),
            ("formats", "NV12+I420"),
            ("formats", "NV12+NV12"),
        ] {
            assert!(settings.set(key, value).is_err(), "{key}={value}");
        }
    }
}
