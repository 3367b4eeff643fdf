#!/usr/bin/env bash
# Makes system calls of the program fail from outside, one at a time, with strace: what
# the tests that make operations fail from inside cannot see, such as a call that std or
# another crate makes. After each fault, a clean execution must end with every run
# archived once, and nothing booked as failed.
#
# Usage: tests/system_calls.sh PROGRAM [SECONDS]
#
# Takes the faults in an order that differs from day to day until the time is over;
# without SECONDS, all of them.

set -euo pipefail

program=$(realpath -- "$1")
seconds=${2:-}
command -v strace >/dev/null || {
    printf 'tests/system_calls.sh: strace is missing (Debian package strace)\n' >&2
    exit 1
}
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
runs=(1 2 3 4 5)
# Not close: std ends a program in which a directory can't be closed, as it never happens.
calls=(openat read write fsync syncfs rename renameat2 statx newfstatat getdents64 mkdir unlink
    rmdir flock ftruncate lseek fchmod statfs fstatfs access readlink)
errors=(ENOSPC EIO EINTR EACCES ESTALE EMFILE)

# One worker, so that the Nth call of a thread is the same one each time.
prepare() {
    rm -rf -- "$1"
    mkdir -p -- "$1/records" "$1/schema"
    printf 'artdaq_processes: []\n' >"$1/schema/schema.fcl"
    local run
    for run in "${runs[@]}"; do
        mkdir "$1/records/$run"
        printf 'mark: %s\n' "$run" >"$1/records/$run/tpc01.fcl"
        printf 'Config name: test\nDAQInterface start time: %s\nDAQInterface stop time: %s\n' \
            'Wed Mar 18 18:02:11 UTC 2026' 'Wed Mar 18 19:02:11 UTC 2026' \
            >"$1/records/$run/metadata.txt"
    done
    cat >"$1/config.yaml" <<YAML
app:
    work_dir: "$1/work"
    parallel_workers: 1
    run_process_retries: 0
    retry_delay_seconds: 0
source_files:
    run_records_dir: "$1/records"
    settle_seconds: 0
artdaq_db:
    fcl_conf_dir: "$1/schema"
    database_uri: "filesystemdb://$1/archive"
ucon_db:
    server_url: "file://$1/ucondb"
    folder_name: test
    object_name: configuration
YAML
    chmod 640 "$1/config.yaml"
}

# Every run is in both databases once, and in no failure log.
is_whole() {
    local run
    for run in "${runs[@]}"; do
        [[ -s $1/ucondb/test/configuration/$run.blob ]] || {
            printf 'run %s is not migrated' "$run"
            return 1
        }
    done
    # tpc01, metadata, RunHistory, RunHistory2: one document each, and one schema.
    local documents
    documents=$(find "$1/archive/RunHistory" -name '*.json' ! -name 'index.json' ! -name '.*' | wc -l)
    ((documents == expected)) || {
        printf '%s documents, not %s' "$documents" "$expected"
        return 1
    }
    local log
    for log in import migrate; do
        ! grep -q . "$1/work/${log}_failures.log" || {
            printf '%s_failures.log is not empty' "$log"
            return 1
        }
    done
}

site=$scratch/site
prepare "$site"
"$program" "$site/config.yaml" --quiet
expected=$(find "$site/archive/RunHistory" -name '*.json' ! -name 'index.json' ! -name '.*' | wc -l)
is_whole "$site" || exit 1

# How often a thread makes each call at most, in an execution without a fault.
prepare "$site"
strace -f -qq -o "$scratch/trace" "$program" "$site/config.yaml" --quiet
faults=()
for call in "${calls[@]}"; do
    most=$(awk -v call="$call" '{ sub(/\(.*/, "", $2) } $2 == call { n[$1]++ }
        END { for (t in n) if (n[t] > m) m = n[t]; print m + 0 }' "$scratch/trace")
    for ((number = 1; number <= most; number++)); do
        for error in "${errors[@]}"; do
            faults+=("$call:error=$error:when=$number")
        done
    done
done
printf '%s faults\n' "${#faults[@]}"
mapfile -t faults < <(printf '%s\n' "${faults[@]}" |
    shuf --random-source=<(yes "$(date +%F)"))

failed=0
tried=0
begun=$SECONDS
for fault in "${faults[@]}"; do
    if [[ -n $seconds ]] && ((SECONDS - begun >= seconds)); then
        break
    fi
    prepare "$site"
    code=0
    timeout 120 strace -f -qq -o /dev/null -e "inject=$fault" \
        "$program" "$site/config.yaml" --incremental >"$scratch/first" 2>&1 || code=$?
    # 130 is the end of a process whose lock file seemed to be gone.
    problem=
    case $code in
        0 | 1 | 130) ;;
        # The loader's, before the program has begun.
        127) grep -q 'shared libraries' "$scratch/first" || problem='exit code 127' ;;
        *) problem="exit code $code" ;;
    esac
    ! grep -q 'panicked' "$scratch/first" || problem='it panicked'
    code=0
    timeout 120 "$program" "$site/config.yaml" >"$scratch/second" 2>&1 || code=$?
    ((code == 0)) || problem+=" the clean execution ended with $code"
    problem+=$(is_whole "$site") || true
    tried=$((tried + 1))
    if [[ -n $problem ]]; then
        failed=$((failed + 1))
        printf '%s: %s\n' "$fault" "$problem"
        grep -h -m 3 -E 'ERROR|CRITICAL|panicked' "$scratch/first" "$scratch/second" | sed 's/^/    /' || true
    fi
done
printf '%s of %s faults tried, %s failed\n' "$tried" "${#faults[@]}" "$failed"
((failed == 0))
