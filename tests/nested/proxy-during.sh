# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# On the host of the guest: takes a device away when the guest asks for it.
. /job/settings
. /job/devices.sh
while sleep 0.5; do
    for part in camera_unplug vivid_unbind; do
        if [ -e "$VM_OUT/do-$part" ] && [ ! -e "$VM_OUT/done-$part" ]; then
            "devices_$part" >"$VM_OUT/$part.log" 2>&1 && : >"$VM_OUT/done-$part"
        fi
    done
done
