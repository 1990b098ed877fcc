#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# In the guest: every line of /job/cases is a case of its own; one that fails does not keep the next
# from running.
failed=0
while read -r case; do
    label=${case%% *}
    # shellcheck disable=SC2086 # a list of arguments
    if timeout -k 5 300 /job/bench $case 2>/tmp/said; then
        echo "${label#label=}"
    else
        echo "${label#label=} FAILED: $(tail -n 1 /tmp/said)"
        failed=1
    fi
done </job/cases
exit "$failed"
