// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Everything at once, and the device taken from the driver meanwhile.

use e2e::TestVm;

/// How long the client has, in seconds.
const LIMIT: u32 = 240;

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    vm.client_for(LIMIT, "storm 25");
    vm.client_for(LIMIT, "drains");
    vm.client_for(LIMIT, "storm 30 5");
    // Its node may have had another number.
    vm.run("rmmod virtio_v4l2");
    vm.run("insmod /harness/virtio_v4l2.ko allow_id30=1");
    vm.within(20, "test -c /dev/video0");
    vm.client_for(LIMIT, "drains");
    vm.no_process_is_stuck();
    vm.rmmod("rmmod");
}
