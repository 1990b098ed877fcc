# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# Results of cargo's tests.

# cargo_results LOG: each test as a line of ours. The reason of a failure is its first panic, or
# else the last line that the test said; up to 40 lines around it follow. LOG may be of several test
# binaries, which may have tests of one name.
cargo_results() {
    awk '
        FNR == 1 { pass++; binary = 0 }
        /^running [0-9]+ tests?$/ { binary++ }
        pass == 1 && /^---- .* stdout ----$/ { test = binary " " substr($0, 6, length($0) - 17); next }
        pass == 1 && (/^failures:$/ || /^test result: /) { test = "" }
        # The sources of the standard library are not here.
        pass == 1 && test != "" && !/^ +at \/rustc\// {
            said[test, ++count[test]] = substr($0, 1, 300)
            if ($0 != "") last[test] = count[test]
            if (/ panicked at / && !panic[test]) panic[test] = count[test]
        }
        pass == 2 && /^test .* \.\.\. ok$/ { print "ok - " substr($0, 6, length($0) - 12) }
        pass == 2 && /^test .* \.\.\. FAILED$/ {
            name = substr($0, 6, length($0) - 16)
            test = binary " " name
            sub(/ - should panic$/, "", test)
            reason = said[test, last[test]]
            first = last[test] - 39
            if (panic[test]) {
                reason = said[test, panic[test]] " " said[test, panic[test] + 1]
                sub(/.* panicked at /, "", reason)
                first = panic[test] - 10
            }
            print "not ok - " name " # " reason
            if (first < 1) first = 1
            for (i = first; i <= last[test] && i < first + 40; i++) print "| " said[test, i]
        }' "$1" "$1"
}
