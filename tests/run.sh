#!/usr/bin/env bash
# The one test command: installs what the tests need, then checks and tests
# everything, as CI does it. `--local` skips, saying so, what needs files or
# servers that are not here.

set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin

case ${1-} in
    '') export CI=${CI:-1} ;;
    --local) unset CI ;;
    *)
        printf 'usage: tests/run.sh [--local]\n' >&2
        exit 1
        ;;
esac

step() {
    printf '\n== %s\n' "$*"
}

# Installs Debian packages, and keeps those of servers from starting them: the
# tests start their own, and a container may have no service manager.
install_quietly() (
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        trap 'rm -f -- "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
)

# Debian packages by the program that shows them installed.
step 'Programs that the tests need'
packages=()
command -v cc >/dev/null || packages+=(gcc)
[[ -e /usr/include/stdlib.h ]] || packages+=(libc6-dev)
command -v shellcheck >/dev/null || packages+=(shellcheck)
command -v ssh >/dev/null || packages+=(openssh-client)
[[ -x /usr/sbin/sshd ]] || packages+=(openssh-server)
command -v carbon-cache >/dev/null || packages+=(graphite-carbon)
command -v promtool >/dev/null || packages+=(prometheus)
command -v faketime >/dev/null || packages+=(faketime)
command -v setpriv >/dev/null || packages+=(util-linux)
command -v strace >/dev/null || packages+=(strace)
command -v crontab >/dev/null || packages+=(cron)
command -v systemd-analyze >/dev/null || packages+=(systemd)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
if ((${#packages[@]} > 0)); then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        printf 'tests/run.sh: missing: %s\nAs root: apt-get install %s\n' \
            "${packages[*]}" "${packages[*]}" >&2
        exit 1
    fi
    install_quietly "${packages[@]}"
fi
tests/install_smtpd.sh
tests/install_mongod.sh
if ! command -v cargo >/dev/null; then
    printf 'tests/run.sh: missing: Rust: install it from https://rustup.rs\n' >&2
    exit 1
fi
for component in rustfmt clippy; do
    if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
        rustup component add "$component"
    fi
done

step 'cargo fmt'
cargo fmt --check

step 'cargo clippy'
cargo clippy --all-targets --locked --features fault-injection -- -D warnings
# As it is built for use.
cargo clippy --locked -- -D warnings

step 'cargo doc'
RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked

step 'shellcheck'
shellcheck run_archiver.sh tests/run.sh tests/long.sh tests/system_calls.sh tests/install_smtpd.sh tests/install_mongod.sh benches/compare.sh .ci/run src/artdaqdb/tools/remote.sh

step 'cargo test'
# One build for all tests; those that make operations fail need the feature. Most
# tests wait for another process, so more of them than cores run at once; the
# storms keep every core busy by themselves.
cargo test --locked --features fault-injection --no-fail-fast --no-run
cargo test --locked --features fault-injection --no-fail-fast --lib --bins --test main -- \
    --test-threads "$((2 * $(nproc)))"
cargo test --locked --features fault-injection --no-fail-fast --test storms
cargo test --locked --features fault-injection --doc

# Licences, sources and bans are checked by tests/dependencies.rs in any case.
step 'cargo deny, cargo audit'
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline --locked check bans licenses sources
else
    printf 'cargo-deny is not installed: left to tests/dependencies.rs\n'
fi
advisories=${ADVISORY_DB:-${CARGO_HOME:-${HOME:-}/.cargo}/advisory-db}
if [[ -d $advisories ]] && cargo audit --version >/dev/null 2>&1; then
    cargo audit --no-fetch --stale --db "$advisories" --deny warnings
else
    printf 'cargo-audit or its advisories (%s) are not here: known advisories are not checked\n' "$advisories"
fi

step 'The example, twice'
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
example() {
    env -i PATH="$PATH" HOME="$HOME" LANG=C.UTF-8 \
        ${CARGO_HOME:+CARGO_HOME="$CARGO_HOME"} ${RUSTUP_HOME:+RUSTUP_HOME="$RUSTUP_HOME"} \
        ${CARGO_TARGET_DIR:+CARGO_TARGET_DIR="$CARGO_TARGET_DIR"} \
        ARCHIVER_ENV_FILE=/dev/null WORK_DIR="$scratch/work" SETTLE_SECONDS=0 \
        ./run_archiver.sh config.example.yaml
}
fail() {
    printf 'tests/run.sh: the example: %s\n' "$1" >&2
    exit 1
}
# Name and checksum of every file in both databases.
databases() {
    local database
    for database in artdaqdb ucondb; do
        [[ -d $scratch/work/$database ]] || fail "it has made no $database"
    done
    find "$scratch/work/artdaqdb" "$scratch/work/ucondb" -type f -exec sha256sum {} + | sort -k 2
}
example || fail "the first execution ended with $?"
databases >"$scratch/first"
for record in samples/run_records/*/; do
    run=$(basename "$record")
    # Directories whose name is not a number are not runs.
    [[ $run =~ ^[0-9]+$ ]] || continue
    grep -q "/ucondb/.*$run" "$scratch/first" || fail "run $run is not in UconDB"
done
example || fail "the second execution ended with $?"
databases >"$scratch/second"
cmp "$scratch/first" "$scratch/second" || fail 'the second execution changed a database'
[[ ! -e $scratch/work/.archiver.lock ]] || fail 'the lock file was left'

step 'System calls that fail'
tests/system_calls.sh "${CARGO_TARGET_DIR:-target}/release/run_record_archiver" 240

step 'All is well'
