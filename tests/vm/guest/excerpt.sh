# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# What a failure shows of a log. Each line begins with "| ", so that none is taken for a result.

# excerpt [LINES]: the last lines of its input, without control characters, 300 columns each.
excerpt() { tail -n "${1:-40}" | tr -d '\000-\010\013-\037' | cut -c 1-300 | sed 's/^/| /'; }

# excerpt_of FILE [LINES]: the same of a file, and its name. Nothing if it is empty or not there.
excerpt_of() {
    [ -s "$1" ] || return 0
    printf '| the end of %s:\n' "$1"
    excerpt "${2:-40}" <"$1"
}
