#!/usr/bin/env bash
# Starts the Run Record Archiver: loads archiver.env, builds the program if
# need be, and becomes it. All arguments go to the program; see --help.
#
# archiver.env lies beside this script (or where ARCHIVER_ENV_FILE says). It
# holds lines `NAME=value`, `export` before them allowed, values bare, in 'single'
# or in "double" quotes; $NAME and ${NAME} are replaced except in single
# quotes. Nothing in it is run. A value there goes before one in the environment.

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

# Sets `expanded` to $1 with $NAME and ${NAME} replaced; $2 says where it stands.
expand() {
    local rest=$1 place=$2 variable pattern='[A-Za-z_][A-Za-z0-9_]*'
    expanded=
    while [[ -n $rest ]]; do
        case $rest in
            \\[\\\"\'\$\`\ ]*)
                expanded+=${rest:1:1}
                rest=${rest:2}
                ;;
            \$\(* | \`*)
                die "$place: commands are not run here: write the value itself," \
                    'or set the variable before this script is called'
                ;;
            \$*)
                if [[ $rest =~ ^\$\{($pattern)\} || $rest =~ ^\$($pattern) ]]; then
                    variable=${BASH_REMATCH[1]}
                    expanded+=${!variable-}
                    rest=${rest:${#BASH_REMATCH[0]}}
                elif [[ $rest == \$\{* ]]; then
                    die "$place: only \$NAME and \${NAME} are replaced here;" \
                        "put a value that is meant as it stands in 'single quotes'"
                else
                    expanded+='$'
                    rest=${rest:1}
                fi
                ;;
            *)
                expanded+=${rest:0:1}
                rest=${rest:1}
                ;;
        esac
    done
}

load_environment() {
    local file=$1 line number=0 name value expanded
    local assignment='^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$'
    local single="^'([^']*)'[[:space:]]*(#.*)?\$"
    local double='^"((\\.|[^"\])*)"[[:space:]]*(#.*)?$'
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
        # The line itself is not shown: it may hold a password.
        [[ $line =~ $assignment ]] || die "$file:$number: expected NAME=value"
        name=${BASH_REMATCH[2]}
        value=${BASH_REMATCH[3]}
        if [[ $value =~ $single ]]; then
            expanded=${BASH_REMATCH[1]}
        elif [[ $value =~ $double ]]; then
            expand "${BASH_REMATCH[1]}" "$file:$number"
        elif [[ $value == [\'\"]* ]]; then
            die "$file:$number: the quotes around the value of $name do not match"
        else
            value=${value%%[[:space:]]#*}
            value=${value%"${value##*[![:space:]]}"}
            [[ $value != \~/* ]] || value=${HOME:-}/${value:2}
            expand "$value" "$file:$number"
        fi
        export "$name=$expanded"
    done <"$file"
}

environment=${ARCHIVER_ENV_FILE:-$home/archiver.env}
if [[ -e $environment ]]; then
    [[ -r $environment ]] || die "cannot read $environment: check its owner and its rights"
    load_environment "$environment"
elif [[ -n ${ARCHIVER_ENV_FILE:-} ]]; then
    die "cannot read $environment, which ARCHIVER_ENV_FILE names: there is no such file"
fi

# A program that was installed beside the script needs no compiler.
for program in "$home/run_record_archiver" "$home/bin/run_record_archiver"; do
    if [[ -f $program && -x $program ]]; then
        exec "$program" "$@"
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

exec "$program" "$@"
