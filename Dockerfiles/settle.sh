#!/bin/sh
# Sourced by the other scripts: what a step wrote gets the group's rights and one instant as its time.
set -eu
umask 002

: "${SOURCE_DATE_EPOCH:?give it as a build argument: the time that all files of the layer get}"
# shellcheck disable=SC2034 # for the scripts that source this one
SHARE=/usr/local/share/rust-warm-factory
# What cargo knows of rustc is written in another order each time, and found out again in a tenth of a second.
export CARGO_CACHE_RUSTC_INFO=0

# Start noting: only what changes from now on belongs to this step. Touching a file of a layer below would
# copy it into this one.
begin() {
    stamp=$(mktemp)
    # Kernels stamp files in steps of some milliseconds: the first file written must be later than the stamp.
    sleep 0.1
}

# settle DIRECTORY...: the last thing a step does.
settle() {
    find "$@" -xdev -cnewer "$stamp" ! -type l -user "$(id -u)" -exec chmod g+rwX {} +
    find "$@" -xdev -cnewer "$stamp" -type d -user "$(id -u)" -exec chmod g+s {} +
    find "$@" -xdev -cnewer "$stamp" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    rm -f "$stamp"
}

# For a step that runs as root and writes anywhere: the times alone.
settle_system() {
    find / -xdev -cnewer "$stamp" ! -path '/run/*' \
        -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# Of the recipe in the current directory. The image's configuration sets flags that this one's units do not have, and
# nothing but a variable takes them away.
choose_rustflags() {
    unset CARGO_ENCODED_RUSTFLAGS
    [ ! -e no-rustflags ] || export CARGO_ENCODED_RUSTFLAGS=
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
