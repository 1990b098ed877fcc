# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Results: one line each, printed and kept in a file, counted at the end.

results_begin() {
    RESULTS=$1
    : >"$RESULTS"
}

result() { printf '%s\n' "$*" | tee -a "$RESULTS"; }
ok() { result "ok - $1"; }
not_ok() { result "not ok - $1 # ${2:-}"; }
skip() { result "skip - $1 # $2"; }

# verdict NAME REASON COMMAND...: ok if the command succeeds.
verdict() {
    if "${@:3}"; then ok "$1"; else not_ok "$1" "$2"; fi
}

# try NAME COMMAND...: the same, with the output in a log, of which a failure shows the end.
try() {
    local name=$1 log start=$SECONDS
    shift
    log=$LOGS/${name//[^a-zA-Z0-9]/-}.log
    if "$@" >"$log" 2>&1 </dev/null; then
        ok "$name ($((SECONDS - start)) s)"
    else
        tail -n 25 "$log"
        not_ok "$name" "see $log"
        return 1
    fi
}

# results_named NAME [MORE]: the results in what a VM says, with NAME in front. MORE: a command of sed for the other lines.
results_named() { sed -unE 's/^(ok|not ok|skip) - /&'"$1"': /p; '"${2:-}"; }

# results_heard NAME LOG: the same as the VM says it, remarks too; all of it goes to LOG.
results_heard() { sed -u 's/\r//' | tee "$2" | results_named "$1" '/^# /p'; }

# results_of NAME STATUS LOG: they count. Status 1: some failed; any other but 0: it did not get to its end.
results_of() {
    results_named "$1" <"$3" >>"$RESULTS"
    case $2 in
        0 | 1) grep -qE '^(ok|not ok) - ' "$3" || not_ok "$1" "no result: $(tail -n 1 "$3")" ;;
        *) not_ok "$1: runs to its end" "status $2: $(tail -n 1 "$3")" ;;
    esac
}

results_count() { grep -c "^$1 - " "$RESULTS" || true; }

# The last line, and the exit status.
results_end() {
    local passed failed
    passed=$(results_count ok) failed=$(results_count 'not ok')
    grep '^skip - ' "$RESULTS" || true
    grep '^not ok - ' "$RESULTS" || true
    # A run that tested nothing has not passed.
    [ $((passed + failed)) -gt 0 ] || failed=1
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$(results_count skip)"
    [ "$failed" = 0 ]
}
