# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# What the host has to have: Debian packages, installed when missing and we are root.

HOST_PACKAGES="mmdebstrap shellcheck python3-venv ca-certificates e2fsprogs util-linux psmisc strace pkg-config gcc libc6-dev clang libclang-dev
libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-tools gstreamer1.0-plugins-base
gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav ffmpeg"

host_missing() {
    local package
    for package in $HOST_PACKAGES; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
    done
}

host_prepare() {
    local missing
    [ "$(uname -m)" = x86_64 ] || die "the harness knows x86_64 hosts; this one is $(uname -m)"
    command -v dpkg-query >/dev/null || die "the harness needs a Debian 12 or 13 host (it installs and unpacks Debian packages)"
    missing=$(host_missing)
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || die "missing packages; as root run: apt-get install --no-install-recommends $missing"
    say "installing host packages: $missing"
    mkdir -p "$CACHE"
    # shellcheck disable=SC2086 # a list of words
    {
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
    } >"$CACHE/apt-host.log" 2>&1 </dev/null || {
        tail -n 5 "$CACHE/apt-host.log" >&2
        die "installing host packages failed; the whole log is in $CACHE/apt-host.log"
    }
}
