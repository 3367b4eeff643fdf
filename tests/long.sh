#!/usr/bin/env bash
# The long form of the tests of reliability: the code of which CI runs a few
# minutes' worth, with every case and more rounds. Needs what tests/run.sh
# installs; run that first. Without arguments it runs all of them, else those
# named:
#
#   tests/long.sh
#   tests/long.sh every_operation every_request
#
# each                    takes, on 2 cores    does
# every_operation         9 minutes            fails every file operation in every way
# every_request           5 minutes            spoils every request to UconDB, once and from it on
# every_message           7 minutes            breaks the connection to MongoDB at every message
# kill_storm              40 minutes           kills executions of every mode 3,000 times
# soak                    8 minutes            20,000 runs in faults on all sides
# bad_input               25 minutes           20,000 damaged run records
# bad_memory              a few minutes        damages every file of the archiver's own
# two_archivers           a few minutes        50 times two archivers on one archive
# many_hands              10 minutes           200 times imports, migrations and rebuilds at once
# full_disk               a minute             fills every disk there is
# year                    an hour              simulates three years of hourly executions
#
# system_calls            one and a half hours makes each system call fail with strace
#
# It ends with 0 if all of them passed, and says at the end which did not.

set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
export RUN_RECORD_ARCHIVER_LONG=1 CI=${CI:-1}

tests=(
    every_operation
    every_request
    every_message
    kill_storm
    soak
    bad_input
    bad_memory
    two_archivers
    many_hands
    full_disk
    year
    system_calls
)
if (($# > 0)); then
    tests=("$@")
fi

failed=()
for name in "${tests[@]}"; do
    printf '\n== %s\n' "$name"
    # One test after the other: each keeps the machine busy.
    if [[ $name == system_calls ]]; then
        # Over the program as it is used.
        cargo build --locked --release &&
            tests/system_calls.sh "${CARGO_TARGET_DIR:-target}/release/run_record_archiver" ||
            failed+=("$name")
        continue
    fi
    cargo test --locked --features fault-injection --test storms "$name::" -- \
        --nocapture --test-threads 1 || failed+=("$name")
done

if ((${#failed[@]} > 0)); then
    printf '\ntests/long.sh: failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
printf '\n== All is well\n'
