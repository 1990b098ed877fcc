// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A vhost-user frontend that lives in the test process: no VM, no kernel, every byte written by hand.
