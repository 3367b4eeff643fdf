#!/usr/bin/env bash
# Compares two builds of the archiver by the figures of the bench `pipeline`:
#
#     benches/compare.sh OLD NEW [NAME...]
#
# OLD and NEW are the programs (a release build is target/release/run_record_archiver
# of its checkout). They are measured in turn, ROUNDS times each (default 3), with
# PAUSE seconds between (default 40: some file systems make new files slowly for half
# a minute after many were deleted, and a measurement deletes its archive at its
# end). For each figure the medians and their ratio are printed.

set -euo pipefail

if (($# < 2)) || [[ ! -x $1 || ! -x $2 ]]; then
    printf 'usage: benches/compare.sh OLD NEW [NAME...]\nOLD and NEW are programs\n' >&2
    exit 1
fi
declare -A program=([old]=$(realpath -- "$1") [new]=$(realpath -- "$2"))
shift 2
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
    for build in old new; do
        printf 'round %s: %s\n' "$round" "$build" >&2
        sleep "${PAUSE:-40}"
        ARCHIVER=${program[$build]} cargo bench --quiet --bench pipeline -- "$@" >>"$scratch/$build"
    done
done

awk -F '\t' '
    function median(list,    values, count, i, j, value) {
        count = split(list, values, " ")
        for (i = 2; i <= count; i++) {
            value = values[i]
            for (j = i - 1; j > 0 && values[j] + 0 > value + 0; j--) values[j + 1] = values[j]
            values[j + 1] = value
        }
        return values[int((count + 1) / 2)]
    }
    NF == 3 {
        if (!($1 in unit)) order[++figures] = $1
        unit[$1] = $3
        list[FILENAME == ARGV[1] ? "old" : "new", $1] = list[FILENAME == ARGV[1] ? "old" : "new", $1] " " $2
    }
    END {
        printf "%-45s %12s %12s %8s\n", "", "old", "new", "new/old"
        for (i = 1; i <= figures; i++) {
            name = order[i]
            before = median(list["old", name]); after = median(list["new", name])
            ratio = before > 0 ? sprintf("%.2f", after / before) : "-"
            printf "%-45s %12s %12s %8s  %s\n", name, before, after, ratio, unit[name]
        }
    }
' "$scratch/old" "$scratch/new"
