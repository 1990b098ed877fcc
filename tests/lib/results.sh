# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Results: one line each, printed and kept in a file, counted at the end. Lines that begin with "| "
# say why the last one is not ok.

. "$VM_DIR/guest/excerpt.sh"

results_begin() {
    RESULTS=$1
    : >"$RESULTS"
}

result() { printf '%s\n' "$*" | tee -a "$RESULTS"; }
ok() { result "ok - $1"; }

# not_ok NAME [REASON]: a reason that ends in "see FILE" shows the end of that file.
not_ok() {
    result "not ok - $1 # ${2:-}"
    case ${2:-} in *'see /'*) excerpt_of "/${2##*see /}" | tee -a "$RESULTS" ;; esac
}
skip() { result "skip - $1 # $2"; }

# verdict NAME REASON COMMAND...: ok if the command succeeds.
verdict() {
    if "${@:3}"; then ok "$1"; else not_ok "$1" "$2"; fi
}

# try NAME COMMAND...: the same, with the output in a log.
try() {
    local name=$1 log start=$SECONDS
    shift
    log=$LOGS/${name//[^a-zA-Z0-9]/-}.log
    if "$@" >"$log" 2>&1 </dev/null; then
        ok "$name ($((SECONDS - start)) s)"
    else
        not_ok "$name" "see $log"
        return 1
    fi
}

# results_named NAME [MORE]: the results in what a VM says, with NAME in front. MORE: a command of
# sed for the other lines.
results_named() { sed -unE 's/^(ok|not ok|skip) - /&'"$1"': /p; '"${2:-}"; }

# results_heard NAME LOG: the same as the VM says it, reasons and remarks too; all of it goes to
# LOG.
results_heard() { sed -u 's/\r//' | tee "$2" | results_named "$1" '/^[#|] /p'; }

# results_of NAME STATUS LOG: they count. Status 1: some failed; any other but 0: it did not get to
# its end. After a failure the ends of what the run left (in the directory LOG without ".log") are
# shown, too.
results_of() {
    local failed file
    failed=$(results_count 'not ok')
    results_named "$1" '/^\| /p' <"$3" >>"$RESULTS"
    case $2 in
        0 | 1) grep -qE '^(ok|not ok) - ' "$3" || not_ok "$1" "no result, see $3" ;;
        *) not_ok "$1: runs to its end" "status $2, see $3" ;;
    esac
    [ "$(results_count 'not ok')" -gt "$failed" ] || return 0
    for file in "${3%.log}"/{,guest/}{host.log,daemon.log,dmesg.txt}; do
        excerpt_of "$file" 20 | tee -a "$RESULTS"
    done
}

results_count() { grep -c "^$1 - " "$RESULTS" || true; }

# The last line, and the exit status. Failures are shown again, with their reasons: the end of a
# long output is what is read first.
results_end() {
    local passed failed
    grep -E '^(not ok - |\| )' "$RESULTS" | sed '400q' || true
    passed=$(results_count ok) failed=$(results_count 'not ok')
    grep '^skip - ' "$RESULTS" || true
    grep '^not ok - ' "$RESULTS" || true
    # A run that tested nothing has not passed.
    [ $((passed + failed)) -gt 0 ] || failed=1
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$(results_count skip)"
    [ "$failed" = 0 ]
}
