// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Suites in a guest, each in a machine of its own: `cargo xtask test vm [NAME]`.

mod load;
