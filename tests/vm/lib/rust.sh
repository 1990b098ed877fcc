# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Rust for the host half. A machine's own is used when it is new enough; else the one of Debian 13 backports, in an
# unpacked root of its own like QEMU, so that nothing of the machine changes and Debian 12 can run it too. Linking is
# done by the machine's own gcc, against the machine's own libraries.

# gstreamer-rs 0.25 asks for this one.
RUST_MINIMUM=1.92
RUST_PACKAGES="rustc cargo rustfmt rust-clippy"
RUST_TOOLS="rustc rustdoc cargo rustfmt cargo-fmt clippy-driver cargo-clippy"
RUST_ENTRY=rust-$(hash_of "$RUST_PACKAGES" 1)

# Whether PATH has what the build and its checks run, and new enough.
rust_suffices() {
    local tool version
    for tool in cargo rustfmt cargo-clippy; do
        command -v "$tool" >/dev/null || return 1
    done
    version=$(rustc --version 2>/dev/null | cut -d' ' -f2)
    [ -n "$version" ] && [ "$(printf '%s\n' "$RUST_MINIMUM" "$version" | sort -V | head -n 1)" = "$RUST_MINIMUM" ]
}

rust_make() {
    local entry=$CACHE/$RUST_ENTRY lib tool sysroot
    # shellcheck disable=SC2086 # a list of words
    make_root "$1/root" --variant=extract --aptopt="APT::Default-Release \"$SUITE-backports\"" \
        --include="$(printf '%s,' $RUST_PACKAGES)"
    lib=$entry/root/usr/lib/x86_64-linux-gnu
    mkdir "$1/bin"
    # The tools look for each other beside the running program, which is the loader: so it stands among them.
    cp "$1/root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$1/bin/loader"
    for tool in $RUST_TOOLS; do
        case $tool in
            rustc | rustdoc) sysroot="--sysroot $entry/root/usr" ;;
            *) sysroot= ;;
        esac
        cat >"$1/bin/$tool" <<END
#!/bin/sh
export CARGO=$entry/bin/cargo SYSROOT=$entry/root/usr
exec $entry/bin/loader --library-path $lib --argv0 "\$0" $entry/root/usr/bin/$tool $sysroot "\$@"
END
        chmod +x "$1/bin/$tool"
    done
}

# Puts a Rust that is new enough first in PATH.
rust_prepare() {
    rust_suffices && return
    make_once "$RUST_ENTRY" "Rust of $SUITE-backports" rust_make
    export PATH=$CACHE/$RUST_ENTRY/bin:$PATH
    rust_suffices || die "rustc of $SUITE-backports does not run or is older than $RUST_MINIMUM; install Rust $RUST_MINIMUM with rustup"
}
