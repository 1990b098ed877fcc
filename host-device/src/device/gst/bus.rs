// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Messages of a pipeline's elements.

use anyhow::{Context as _, Result};
use gstreamer as gst;
use gstreamer::prelude::*;

/// Logs errors and warnings of elements, in the current span, and calls `on_error` for each error.
///
/// # Errors
///
/// The pipeline has no bus.
pub fn watch(pipeline: &gst::Pipeline, on_error: impl Fn() + Send + Sync + 'static) -> Result<()> {
    let bus = pipeline.bus().context("a pipeline without a bus")?;
    let span = tracing::Span::current();
    bus.set_sync_handler(move |_, message| {
        let _entered = span.enter();
        match message.view() {
            gst::MessageView::Error(error) => {
                tracing::error!(
                    "{}: {} ({})",
                    error.src().map(|src| src.name()).unwrap_or_default(),
                    error.error(),
                    error.debug().unwrap_or_default()
                );
                on_error();
            }
            gst::MessageView::Warning(warning) => tracing::warn!("{}", warning.error()),
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
    Ok(())
}
