// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! From what the runs left behind to report.json, the table and the plot.

mod input;
mod plot;
mod table;
mod targets;
mod throughput;

pub use input::{Row, load};
pub use plot::plot;
pub use table::table;
pub use targets::{Target, Verdict, targets};
pub use throughput::{Ratio, ratios};
