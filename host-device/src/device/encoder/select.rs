// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The element that encodes each codec on this host.

use std::fmt;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::catalogue::{Property, ROWS, Row, When};
use super::params::Params;
use super::settings::Settings;

/// The element that a codec is encoded with on this host.
#[derive(Clone)]
pub struct SelectedElement {
    /// Which codec.
    pub row: &'static Row,
    /// Makes the element.
    pub factory: gst::ElementFactory,
}

impl SelectedElement {
    /// Properties for `params`, in order.
    pub fn properties(&self, params: &Params) -> Vec<(&'static str, String)> {
        self.values(params)
            .map(|(property, value)| (property.name, value))
            .collect()
    }

    /// The live properties in which `new` differs from `old`; `None` if others differ, too.
    pub fn changes(&self, old: &Params, new: &Params) -> Option<Vec<(&'static str, String)>> {
        let values = |params, when| -> Vec<_> {
            let values = self
                .values(params)
                .filter(|(property, _)| property.when == when);
            values
                .map(|(property, value)| (property.name, value))
                .collect()
        };
        if values(new, When::Start) != values(old, When::Start) {
            return None;
        }
        let old = values(old, When::Live);
        let mut new = values(new, When::Live);
        new.retain(|property| !old.contains(property));
        Some(new)
    }

    /// Its properties that have a value. An element that the table does not know runs with its own
    /// defaults.
    fn values(&self, params: &Params) -> impl Iterator<Item = (&'static Property, String)> {
        let name = self.factory.name();
        let mut elements = self.row.elements.iter();
        let known = elements.find(|element| element.factory == name);
        let properties = known.map_or(&[][..], |element| element.properties);
        properties
            .iter()
            .filter_map(|property| Some((property, (property.value)(params)?)))
    }
}

impl fmt::Debug for SelectedElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.row.name, self.factory.name())
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
        let selected = match settings.elements.get(row.name) {
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
        all.extend(selected.map(|factory| SelectedElement { row, factory }));
    }
    anyhow::ensure!(
        all.iter().any(|selected| selected.row.name == "h264")
            || !settings.elements.is_empty() && !all.is_empty(),
        "no H.264 encoder: GStreamer has no x264enc.\n\
         Install it with: apt install gstreamer1.0-plugins-ugly \
         (or name another with --encoder h264=ELEMENT)"
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
    fn unknown_elements_are_refused_by_name() {
        gst::init().unwrap();
        let settings: Settings = Settings {
            elements: [("h264", "nosuchenc".to_owned())].into(),
            ..Settings::default()
        };
        let error = choose(&settings).unwrap_err().to_string();
        assert!(error.contains("nosuchenc"), "{error}");
        let settings = Settings {
            elements: [("h264", "identity".to_owned())].into(),
            ..Settings::default()
        };
        assert!(
            choose(&settings)
                .unwrap_err()
                .to_string()
                .contains("not a video encoder")
        );
        let settings = Settings {
            elements: [("h264", "vp8enc".to_owned())].into(),
            ..Settings::default()
        };
        let error = choose(&settings).unwrap_err().to_string();
        assert!(error.contains("does not encode H.264"), "{error}");
    }
}
