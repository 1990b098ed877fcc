// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Properties and pads of an element.

use anyhow::{Context as _, Result};
use gstreamer as gst;
use gstreamer::prelude::*;

/// Sets `properties`, written as for gst-launch, and each number to the nearest that the element
/// takes. Properties that the element lacks are left out.
///
/// # Errors
///
/// A value is not of the property's type.
pub fn set_properties(element: &gst::Element, properties: &[(&'static str, String)]) -> Result<()> {
    for (name, value) in properties {
        let Some(pspec) = element.find_property(name) else {
            tracing::debug!("{} has no property {name}", element.name());
            continue;
        };
        let value = within(value, &pspec);
        let value = gst::glib::Value::deserialize_with_pspec(&value, &pspec)
            .with_context(|| format!("{}: {name}={value}", element.name()))?;
        element.set_property_from_value(name, &value);
    }
    Ok(())
}

/// The number nearest to `value` that the property takes: glib panics on others. Other values are
/// returned as they are.
fn within(value: &str, pspec: &gst::glib::ParamSpec) -> String {
    use gst::glib::{ParamSpecInt, ParamSpecUInt};

    let range = if let Some(int) = pspec.downcast_ref::<ParamSpecInt>() {
        Some((i64::from(int.minimum()), i64::from(int.maximum())))
    } else {
        pspec
            .downcast_ref::<ParamSpecUInt>()
            .map(|uint| (i64::from(uint.minimum()), i64::from(uint.maximum())))
    };
    match (value.parse::<i64>(), range) {
        (Ok(number), Some((least, most))) => number.clamp(least, most).to_string(),
        _ => value.to_owned(),
    }
}

/// Links our pad to the static pad `name` of `element`.
///
/// # Errors
///
/// There is no such pad, or it does not fit.
pub fn link(ours: &gst::Pad, element: &gst::Element, name: &str) -> Result<()> {
    let theirs = element
        .static_pad(name)
        .with_context(|| format!("{} has no pad {name}", element.name()))?;
    if ours.direction() == gst::PadDirection::Src {
        ours.link(&theirs)?;
    } else {
        theirs.link(ours)?;
    }
    Ok(())
}
