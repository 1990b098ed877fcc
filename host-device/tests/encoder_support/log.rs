// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The log of the encoder device.

/// The gst-launch line of each thread's last encoder, out of the log.
#[derive(Default)]
struct Line(Option<String>);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let message = format!("{value:?}");
            self.0 = message
                .find("gst-launch-1.0")
                .map(|at| message[at..].to_owned());
        }
    }
}

thread_local! {
    static GST_LAUNCH: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// The last gst-launch line that the log told on this thread: that of STREAMON.
pub fn gst_launch() -> Option<String> {
    GST_LAUNCH.with_borrow(Clone::clone)
}

struct Lines;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        if line.0.is_some() {
            GST_LAUNCH.set(line.0);
        }
    }
}

/// Prints the log, as RUST_LOG says, and looks for gst-launch lines in it.
pub fn start() {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let print = tracing_subscriber::fmt::layer().with_test_writer();
    let _ = tracing_subscriber::registry()
        .with(Lines)
        .with(tracing_subscriber::Layer::with_filter(print, filter))
        .try_init();
}
