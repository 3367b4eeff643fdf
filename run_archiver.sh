#!/usr/bin/env bash
# Starts the Run Record Archiver: loads archiver.env, builds the program if
# need be, and becomes it. All arguments go to the program; see --help.
#
# archiver.env lies beside this script (or where ARCHIVER_ENV_FILE says). It is
# shell: every variable that it sets goes to the program, before one of the
# same name in the environment. Whoever can write it can do what this script can.

set -euo pipefail

# A core dump would hold passwords.
ulimit -c 0

script=${BASH_SOURCE[0]}
while [[ -L $script ]]; do
    target=$(readlink -- "$script")
    [[ $target == /* ]] || target=$(dirname -- "$script")/$target
    script=$target
done
home=$(cd -- "$(dirname -- "$script")" && pwd)
export RUN_RECORD_ARCHIVER_HOME=$home

die() {
    printf 'run_archiver.sh: %s\n' "$@" >&2
    exit 1
}

# Becomes the program, under a name by which ps, pgrep and pkill find it as the
# script and as the program.
become() {
    local program=$1
    shift
    exec -a run_archiver:run_record_archiver "$program" "$@"
}

environment=${ARCHIVER_ENV_FILE:-$home/archiver.env}
if [[ -e $environment ]]; then
    [[ -r $environment ]] || die "cannot read $environment: check its owner and its rights"
    # Files of today may use variables that are not set.
    set -a +u
    # shellcheck source=/dev/null
    source "$environment" || die "$environment: it could not be read to its end; the message stands above"
    set +a -u
elif [[ -n ${ARCHIVER_ENV_FILE:-} ]]; then
    die "cannot read $environment, which ARCHIVER_ENV_FILE names: there is no such file"
fi

# A program that was installed beside the script needs no compiler.
for program in "$home/run_record_archiver" "$home/bin/run_record_archiver"; do
    if [[ -f $program && -x $program ]]; then
        become "$program" "$@"
    fi
done

program=${CARGO_TARGET_DIR:-$home/target}/release/run_record_archiver
outdated=
if [[ ! -x $program ]]; then
    outdated=missing
elif [[ -n $(find "$home/src" "$home/Cargo.toml" "$home/Cargo.lock" -newer "$program" -print -quit 2>/dev/null) ]]; then
    outdated=older
fi

if [[ -n $outdated ]]; then
    # cron's PATH does not know rustup's directory.
    PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
    lacks=()
    [[ -f $home/Cargo.toml ]] || lacks+=("the source code: $home has no Cargo.toml")
    command -v cargo >/dev/null || lacks+=('Rust: install it from https://rustup.rs')
    command -v cc >/dev/null ||
        lacks+=('a C compiler and linker: as root, apt-get install gcc libc6-dev, or dnf install gcc')
    if ((${#lacks[@]} == 0)); then
        options=(--release --locked --manifest-path "$home/Cargo.toml")
        for argument in "$@"; do
            case $argument in
                --quiet) options+=(--quiet) && break ;;
                --*) ;;
                -*q*) options+=(--quiet) && break ;;
            esac
        done
        cargo build "${options[@]}" >&2 || die 'the build failed; its messages stand above'
        # Cargo leaves a program alone that a touched file does not change.
        touch -c -- "$program" 2>/dev/null || true
    elif [[ $outdated == missing ]]; then
        die "there is no $program, and building it needs:" "${lacks[@]}"
    fi
fi

become "$program" "$@"
