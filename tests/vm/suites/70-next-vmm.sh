# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# files: client
# One daemon serves one VMM after the other: 70-next-vmm.host runs this suite again with a daemon of
# its own, first in a VM that ends while it streams, then in another.
. /harness/tap.sh

if [ -e /harness/job/stay ]; then
    /job/client hold &
    sleep 1
    touch /out/streaming
    sleep 60
fi
client drains
exit "$failed"
