#!/bin/sh
# prune.sh STAMP LOCKED CARGO_HOME BUILD_DIR: removes what no consumer needs, be it to find a unit fresh, to compile
# on top of it, or to run its build script again. docs/measurements.md says what each kind weighs, and what stays.
# Run in the images and by the local backend, by whoever wrote the files. Files older than STAMP stay as they are: in
# an image they belong to a layer below. LOCKED has a line `name version` for each package of the recipes' locks; `-`
# leaves the registry's index as it is.
set -eu

stamp=${1:?} locked=${2:?} cargo_home=${3:?} build_dir=${4:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

main() {
    # Cargo unpacks the sources again from registry/cache; the other is its note of what was used when.
    rm -rf "$cargo_home/registry/src" "$cargo_home/.global-cache"
    if [ "$locked" != - ]; then
        [ -f "$locked" ] || fail "$locked: no such file"
        trim_index
    fi
    if [ -d "$build_dir" ]; then
        # Of the recipes' own packages.
        find "$build_dir" -type d -name incremental -prune -exec rm -rf {} +
        remove_objects
        strip_symbols
    fi
}

# The registry's whole list of a crate's versions changes with every release, and so would the image. What is left
# serves locks; for anything else cargo asks the registry again, as there is no ETag by which it could find this whole.
trim_index() {
    [ -d "$cargo_home/registry/index" ] || return 0
    find "$cargo_home/registry/index" -path '*/.cache/*' -type f -cnewer "$stamp" >"$work/index"
    while IFS= read -r file; do
        trim "$file"
    done <"$work/index"
}

# A byte for the format of the cache, four for that of the index, then texts that end in zero: what the registry calls
# this state of it; for each version its number and its entry. A format that is not known stays as it is.
trim() {
    [ "$(head -c 5 "$1" | od -An -tx1)" = ' 03 02 00 00 00' ] || return 0
    tail -c +6 "$1" | tr '\0' '\n' >"$work/entries"
    awk -v crate="${1##*/}" '
        FNR == NR { if (tolower($1) == crate) wanted[$2]; next }
        FNR == 1 { print "Unknown"; next }
        FNR % 2 == 0 { version = $0; next }
        version in wanted { print version; print }
    ' "$locked" "$work/entries" >"$work/trimmed"
    { head -c 5 "$1" && tr '\n' '\0' <"$work/trimmed"; } >"$work/whole"
    cat "$work/whole" >"$1"
}

# What a C compiler made on the way to an archive: rustc has put the archive into the library. Whoever names an object
# to cargo or includes one as bytes keeps all of its own.
remove_objects() {
    find "$build_dir" -type d -path '*/build/*/out' -prune >"$work/out"
    find "$build_dir" -type f -name '*.d' ! -path '*/out/*' -exec grep -hoE '[^ ]+/out/[^ ]+\.o( |:|$)' {} + |
        sed 's|/out/.*|/out|' | sort -u >"$work/included" || :
    while IFS= read -r out; do
        if ! grep -qxF "$out" "$work/included" && ! grep -qsE '\.o([^a-z]|$)' "${out%/out}/output"; then
            find "$out" -type f -name '*.o' -cnewer "$stamp" -exec rm -f {} +
        fi
    done <"$work/out"
}

# Symbols of build scripts and macros serve debuggers only. What is in OUT_DIR was made by others, for other ends.
strip_symbols() {
    find "$build_dir" -type f -perm -0100 ! -path '*/out/*' -cnewer "$stamp" >"$work/programs"
    [ -s "$work/programs" ] || return 0
    if ! command -v strip >/dev/null; then
        printf 'note: no strip on PATH: build scripts and macros keep their symbols\n' >&2
        return 0
    fi
    while IFS= read -r program; do
        # Shell scripts are programs too, and those of another platform are not for this strip.
        if strip --strip-unneeded -o "$work/stripped" "$program" 2>"$work/said"; then
            shrink "$program"
        else
            printf 'note: keeps its symbols: %s\n' "$(head -n 1 "$work/said")" >&2
        fi
    done <"$work/programs"
}

# Into the same file, which has a second name, and with its time, which cargo goes by.
shrink() {
    [ "$(wc -c <"$work/stripped")" -lt "$(wc -c <"$1")" ] || return 0
    touch -r "$1" "$work/time"
    cat "$work/stripped" >"$1"
    touch -r "$work/time" "$1"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

main
