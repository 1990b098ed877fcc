# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# The phases that need no VM.

CARGO_DENY=$CACHE/cargo-deny/bin/cargo-deny

# Without these the other phases would only fail in less clear words.
phase_prepare() {
    "$VM_DIR/prepare" || die "preparing failed (see above)"
    ok "kernel tree, guest and QEMU are there"
}

# What the phases without a VM need of that.
phase_tools() {
    host_prepare
    rust_prepare
    buildroot_prepare
    uapi_prepare
    ok "compilers, libraries and headers are there"
}

shell_scripts() { grep -rlE '^#!.*(ba)?sh|shellcheck shell=|/harness/tap.sh' tests/run tests/lib tests/vm tests/cfi tests/nested tests/demo tests/bench tests/guest .ci; }

phase_format() {
    try "rustfmt" cargo fmt --all --check || true
    try "rustfmt of guest-driver, as the kernel does" "$VM_DIR/kfmt" --check || true
    # shellcheck disable=SC2046 # no spaces in our names
    try "shellcheck" shellcheck --shell=bash --source-path=tests $(shell_scripts) || true
    try "SPDX line in every source file" spdx || true
}

# The licence that a header names is the one that REUSE.toml gives the file.
spdx() {
    local file line lines licence wrong=0
    while read -r file; do
        lines=
        for _ in 1 2 3; do
            IFS= read -r line || break
            # Without the end of a comment.
            line=${line% \*/}
            lines+=${line% -->}$'\n'
        done <"$file"
        licence="GPL-2.0 OR BSD-3-Clause"
        case $file in Kbuild | guest-driver/*) licence=GPL-2.0 ;; esac
        case $lines in
            *"SPDX-License-Identifier: $licence"$'\n'*) ;;
            *) echo "$file has no line SPDX-License-Identifier: $licence" && wrong=1 ;;
        esac
    done < <(git ls-files '*.rs' '*.c' '*.h' '*.sh' '*.toml' '*Kbuild' Makefile tests/run tests/vm \
        tests/bench .ci | grep -vE '\.md$|^REUSE.toml$' | sort -u)
    return "$wrong"
}

deny() {
    [ -x "$CARGO_DENY" ] || command -v cargo-deny >/dev/null ||
        cargo install --locked --quiet cargo-deny --root "${CARGO_DENY%/bin/*}" --target-dir "$CACHE/.tmp.cargo-deny"
    rm -rf "$CACHE/.tmp.cargo-deny"
    PATH=${CARGO_DENY%/*}:$PATH cargo deny --config .ci/deny.toml check licenses bans sources
}

phase_lint() {
    try "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings || true
    RUSTDOCFLAGS="-D warnings" try "cargo doc" cargo doc --workspace --no-deps --locked || true
    try "cargo deny: licences, bans, sources" deny || true
    # The one tool that comes from neither Debian nor crates.io.
    if tests/lib/reuse --version >/dev/null; then
        try "reuse lint: licences of our files" tests/lib/reuse lint || true
    else
        skip "reuse lint: licences of our files" "reuse cannot be installed by pip (see above)"
    fi
    try "a failure shows its reason" tests/lib/selftest || true
    try "layout: circles of files, lengths, columns" cargo xtask layout || true
}

# Every test of cargo is a result of its own.
phase_unit() {
    local log=$LOGS/cargo-test.log status=0 line
    cargo test --workspace --locked --no-fail-fast >"$log" 2>&1 </dev/null || status=$?
    {
        cargo_results "$log"
        # Those that phase nested runs are not skipped.
        sed -nE '/ ignored, .*: tests\/nested runs it$/d; s/^test (.*) \.\.\. ignored(, (.*))?$/skip - \1 # \3/p' "$log"
    } >"$LOGS/cargo-test.results"
    cat "$LOGS/cargo-test.results" >>"$RESULTS"
    grep -v '^ok' "$LOGS/cargo-test.results" || true
    echo "$(grep -c '^ok' "$LOGS/cargo-test.results" || true) tests of cargo passed"
    if [ "$status" = 0 ]; then
        ok "cargo test ends with success"
    else
        not_ok "cargo test ends with success" "status $status, see $log"
    fi
}

module_without_warnings() {
    local log=$LOGS/kbuild.log
    # From nothing: what is not compiled again does not warn again.
    rm -rf out/module
    OUT=out/module "$VM_DIR/kmake" . >"$log" 2>&1 || {
        cat "$log"
        return 1
    }
    ! grep -iE 'warning' "$log"
}

# With the kernel's choice of lints.
module_clippy() {
    local log=$LOGS/kbuild-clippy.log
    OUT=$LOGS/clippy "$VM_DIR/kmake" . CLIPPY=1 >"$log" 2>&1 || {
        cat "$log"
        return 1
    }
    ! grep -iE 'warning' "$log"
}

# Of what module_without_warnings has built.
module_cfi() { tests/cfi/check; }

fence_module() { OUT=$REPO/out/fence "$VM_DIR/kmake" tests/fence; }

phase_module() {
    try "the module builds without a warning" module_without_warnings || true
    try "clippy of the module" module_clippy || true
    try "rustdoc of the module" "$VM_DIR/kdoc" || true
    try "a kernel with CFI would call the module's callbacks" module_cfi || true
    try "the daemon builds (release)" cargo build --release --locked -p virtio-v4l2d || true
    try "the guest's clients build" tests/guest/build || true
    try "the test modules build" fence_module || true
}
