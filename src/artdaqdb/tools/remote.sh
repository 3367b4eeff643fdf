# shellcheck shell=sh
# The archiver's hand on the host of the tools: sent there through ssh, and run
# by sh, by remote.rs. Reads its parameters as lines, then what the action
# needs. Answers with a line of its own and a tar archive; all else that is said
# goes to standard error. Nothing of it is in a process's arguments.
set -u

# Says why, with an exit code by which remote.rs knows what to do about it.
fail() {
    printf '%s\n' "$1" >&2
    exit "${2:-1}"
}

# One by one, so that it is seen that they are set.
{
    IFS= read -r action && IFS= read -r uri && IFS= read -r root &&
        IFS= read -r index_lock && IFS= read -r documents_lock && IFS= read -r limit &&
        IFS= read -r tools_dir && IFS= read -r library_path &&
        IFS= read -r fhicl_path && IFS= read -r run && IFS= read -r configuration &&
        IFS= read -r threads
} || fail 'the connection broke off'
for program in flock mktemp nproc tar timeout; do
    command -v "$program" >/dev/null || fail "$program is missing on this host; install it"
done

temporary=${TMPDIR:-/tmp}
# The tools give their paths to a shell.
case $temporary in
    *[!A-Za-z0-9_.,:=@%+/-]*) temporary=/tmp ;;
esac
# What a killed predecessor has left; no tool may work for a day.
find "$temporary" -maxdepth 1 -type d -user "$(id -u)" -name 'run_record_archiver.*' \
    -mtime +0 -exec rm -rf -- {} + 2>/dev/null
work=$(mktemp -d "$temporary/run_record_archiver.XXXXXX") || fail 'no temporary directory'
trap 'rm -rf -- "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
mkdir "$work/files"

# Waits for a lock: -x alone or -s shared, its descriptor, its file. Says so every
# second: the archiver may give up then, and when it is gone the writing ends this.
await_lock() {
    flock -n "$1" "$2" && return
    waited=0
    printf 'run_record_archiver waits\n'
    until flock "$1" -w 1 "$2"; do
        waited=$((waited + 1))
        [ "$waited" -lt "$limit" ] ||
            fail "another program has held $root/$3 for $limit s; find it with fuser -v"
        printf 'run_record_archiver waits\n'
    done
    printf 'run_record_archiver goes on\n'
}

# Waits for this archive's turn: -x to write, -s to read. The tool inherits the
# locks, which therefore live as long as the tool does.
take_turn() {
    [ -n "$root" ] || return 0
    if [ "$1" = -x ]; then
        mkdir -p -- "$root" || exit
        exec 8>>"$root/$documents_lock" 9>>"$root/$index_lock"
        await_lock -s 8 "$documents_lock"
    elif [ -e "$root/$index_lock" ]; then
        exec 9<"$root/$index_lock"
    else
        return 0
    fi
    await_lock "$1" 9 "$index_lock"
}

# What is not there may only be called missing where one may look.
may_look() {
    above=$1
    until [ -e "$above" ]; do
        above=$(dirname -- "$above")
    done
    [ -x "$above" ] || fail "$above: permission denied"
    [ -d "$1" ] && [ ! -r "$1" ] && fail "$1: permission denied"
    return 0
}

# Starts a tool with these arguments, and notes how it ends.
run_tool() {
    tool=${tools_dir:+$tools_dir/}$1
    shift
    if ! command -v -- "$tool" >/dev/null; then
        if [ -n "$tools_dir" ]; then
            fail "$tool is missing or can't be run" 11
        fi
        fail "$tool is not in PATH ($PATH)" 12
    fi
    (
        export ARTDAQ_DATABASE_URI="$uri"
        [ -z "$library_path" ] || export LD_LIBRARY_PATH="$library_path"
        [ -z "$fhicl_path" ] || export FHICL_FILE_PATH="$fhicl_path"
        exec timeout -k 2 "$limit" "$tool" "$@"
    ) </dev/null >&2
    printf '%s\n' "$?" >"$work/status"
}

# Starts a tool on the files.
process_files() {
    run_tool "$1" -r "$run" -c "$configuration" -p "$work/files" \
        -t "${threads:-$((($(nproc) + 1) / 2))}"
}

# Adds the indexes to the answer that the positional parameters make.
answer_with_indexes() {
    for collection in ${root:+RunHistory SystemLayout}; do
        may_look "$root/$collection"
        if [ -e "$root/$collection/index.json" ]; then
            set -- "$@" -C "$root" "$collection/index.json"
        elif find "$root/$collection" -name '*.json' 2>/dev/null | grep -q .; then
            fail "$root/$collection/index.json is missing, though there are documents. Nothing \
was changed." 13
        fi
    done
    answer "$@"
}

answer() {
    printf 'run_record_archiver answers\n'
    tar -cf - "$@"
}

case $action in
    look)
        take_turn -s
        answer_with_indexes -C "$work" files
        ;;
    load)
        tar -xof - -C "$work/files" || fail 'the files did not arrive whole'
        take_turn -x
        process_files bulkloader
        rm -rf -- "$work/files"
        answer_with_indexes -C "$work" status
        ;;
    download)
        take_turn -s
        process_files bulkdownloader
        answer -C "$work" status files
        ;;
    help)
        # Which connects to no database.
        run_tool "$configuration" --help
        answer -C "$work" status
        ;;
    documents)
        take_turn -s
        answer -C "$root" -T -
        ;;
    restore)
        tar -xof - -C "$work/files" || fail 'the files did not arrive whole'
        take_turn -x
        for collection in RunHistory SystemLayout; do
            index=$collection/index.json
            [ -e "$work/files/$index" ] || continue
            # The tools take every file of the collection's directory for a document.
            restored=$(mktemp "$root/.index.json.XXXXXX") &&
                cp -- "$work/files/$index" "$restored" &&
                chmod --reference="$root/$index" -- "$restored" &&
                mv -- "$restored" "$root/$index" || exit
        done
        answer -C "$work" files
        ;;
    *) fail "unknown action $action" ;;
esac
