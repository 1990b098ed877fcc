# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Debian roots, from the mirror that this machine's own apt uses.

# The address of the Debian archive in the machine's apt configuration.
debian_mirror() {
    local uri
    # shellcheck disable=SC2016 # apt expands these
    uri=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian|Debian|//p' | head -n 1)
    [ -n "$uri" ] || die "no Debian archive in apt's configuration; add one and run: apt-get update"
    printf '%s\n' "${uri%/}"
}

# make_root DIR MMDEBSTRAP-OPTION...: a Debian 13 root with backports available (and preferred only where asked).
make_root() {
    local dir=$1 mirror
    shift
    mirror=$(debian_mirror)
    mmdebstrap --mode=root --format=directory --architectures=amd64 \
        --aptopt='Acquire::Retries "3"' "$@" "$SUITE" "$dir" \
        "deb $mirror $SUITE main" "deb $mirror $SUITE-updates main" "deb $mirror $SUITE-backports main"
}

# in_root DIR COMMAND...: runs a command there with /proc, /sys, /dev, and the directories in BIND
# ("from:to from:to") mounted; everything is unmounted when it ends, however it ends.
in_root() {
    local root=$1
    shift
    need_root "entering the build root"
    # shellcheck disable=SC2016 # expanded by the inner shell
    BIND=${BIND:-} unshare --mount --propagation private -- bash -euc '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        for pair in $BIND; do
            mkdir -p "$root${pair#*:}"
            mount --rbind "${pair%%:*}" "$root${pair#*:}"
        done
        exec chroot "$root" "$@"' in_root "$root" "$@"
}
