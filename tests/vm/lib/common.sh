# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# What every harness script needs: places, messages, and steps that are either complete or absent.

VM_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
REPO=$(cd -- "$VM_DIR/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/virtio-v4l2
SUITE=trixie

say() { printf '[vm] %s\n' "$*" >&2; }

die() {
    printf '[vm] error: %s\n' "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 needs root: run it with sudo, or as root in a container or VM."
}

# hash_of WORD...: a short key that changes with the recipe.
hash_of() { printf '%s\n' "$@" | sha256sum | cut -c1-12; }

# make_once NAME WHAT FUNCTION [ARG...]: runs FUNCTION DIR ARG... in a fresh directory and renames
# it to $CACHE/NAME when it succeeded, so that an entry of the cache is complete or not there at
# all. A lock lets one of several runs do the work while the others wait.
make_once() {
    local name=$1 what=$2
    shift 2
    [ ! -e "$CACHE/$name" ] || return 0
    mkdir -p "$CACHE"
    local lock tmp log start=$SECONDS
    exec {lock}>"$CACHE/.lock.$name"
    if ! flock -n "$lock"; then
        say "$what: another run is making it, waiting"
        flock "$lock"
    fi
    if [ -e "$CACHE/$name" ]; then
        exec {lock}>&-
        return 0
    fi
    tmp=$CACHE/.tmp.$name log=$CACHE/$name.log
    rm -rf "$tmp"
    mkdir "$tmp"
    say "$what: making it once, log in $log"
    # Its own `set -e` stops it at the first failure; inside a condition the shell would ignore that
    # one, so its status is looked at afterwards (and make_once must not be called in a condition
    # either).
    local status
    set +e
    (
        set -euo pipefail
        "$1" "$tmp" "${@:2}"
    ) >"$log" 2>&1 {lock}>&-
    status=$?
    set -e
    if [ "$status" != 0 ]; then
        tail -n 15 "$log" >&2
        die "$what failed; the whole log is in $log"
    fi
    mv "$tmp" "$CACHE/$name"
    exec {lock}>&-
    say "$what: done in $((SECONDS - start)) s"
}
