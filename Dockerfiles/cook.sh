#!/bin/sh
# As the runner, without a network: compiles each recipe into the shared build directory, keeps what cargo said
# in cook.jsonl and errors.log, and removes every unit of the recipes themselves. A recipe that fails is the
# caller's to judge. errors.log has a line `==== factory recipe NAME` above what was said of each that failed.
set -eu
# shellcheck source=settle.sh
. /run/factory/settle.sh

RECIPES=/run/factory/recipes
# One path for all: it is part of what cargo knows a package by.
SCRATCH=/tmp/factory/recipe
TARGET=/tmp/factory/target
MESSAGES=/tmp/factory/messages
LOG=/tmp/factory/log
PIPE=/tmp/factory/pipe
CLOCK=/tmp/factory/clock

: "${LAYER:?give it as a build argument: the name of the layer}"
REPORT=$SHARE/$LAYER/cook.jsonl
ERRORS=$SHARE/$LAYER/errors.log

main() {
    begin
    mkdir -p "${SCRATCH%/*}" "${REPORT%/*}"
    : >"$REPORT"
    mkfifo "$PIPE"
    while IFS= read -r recipe || [ -n "$recipe" ]; do
        cook "$recipe"
    done <"$RECIPES/recipes.list"
    sh /run/factory/prune.sh "$stamp" "$RECIPES/locked.list" "$CARGO_HOME" "$BUILD_DIR"
    tell_sizes
    settle "$CARGO_HOME" "$BUILD_DIR" "$SHARE"
}

cook() {
    rm -rf "$SCRATCH"
    cp -R "$RECIPES/$1" "$SCRATCH"
    cd "$SCRATCH"
    choose_rustflags
    printf 'cooking %s\n' "$1" >&2
    printf '{"reason":"factory-recipe","name":"%s"}\n' "$1" >>"$REPORT"
    tee "$LOG" <"$PIPE" >&2 &
    exit_code=0
    cook_log=$!
    watch_clock &
    watch=$!
    compile </dev/null >"$MESSAGES" 2>"$PIPE" || exit_code=$?
    kill "$watch"
    wait "$cook_log"
    tell_measured "$1"
    # Why something failed stands nowhere else, and the build log is gone when this step comes from a cache.
    if [ "$exit_code" -ne 0 ]; then
        require_room
        require_memory
        printf '==== factory recipe %s\n' "$1" >>"$ERRORS"
        what_failed >>"$ERRORS"
    fi
    # Two cooks of one recipe end their units in any order, and have to give the same file.
    LC_ALL=C sort "$MESSAGES" >>"$REPORT"
    printf '{"reason":"factory-recipe-finished","name":"%s","exit":%d}\n' "$1" "$exit_code" >>"$REPORT"
    forget_recipe </dev/null
}

# No crate is to blame then: what was left out of the image for it would stay out, as this step would be cached.
require_room() {
    if grep -qi -e 'no space left on device' -e 'disk quota exceeded' "$LOG"; then
        echo 'no space left on device: nothing of this layer is kept' >&2
        exit 1
    fi
}

# Nor here, and what the kernel kills is chance. `factory.process` knows these words too.
require_memory() {
    if [ "$exit_code" -eq 137 ] || grep -qiE -e '\(signal: 9, SIGKILL: kill\)|terminated with signal 9' \
        -e 'Killed signal terminated program|memory allocation of [0-9]+ bytes failed|LLVM ERROR: out of memory' \
        -e 'cannot allocate memory|tried to allocate more memory than available|virtual memory exhausted' "$LOG"; then
        echo 'out of memory: a program was killed, or got none; nothing of this layer is kept' >&2
        exit 1
    fi
}

# A panic names its thread by a number, which is another one each time; and what other jobs do meanwhile is chance. So
# is which of two crates fails first: what is said of each is sorted as one line.
what_failed() {
    sed -n -e "s/^\( *thread '.*'\) ([0-9]*) panicked/\1 panicked/" -e '/^ *Compiling /d' -e '/^ *Checking /d' \
        -e '/^ *Timing report saved to /d' -e '/^warning: build failed/d' -e '/^error/,$p' "$LOG" |
        tr '\n' '\001' | sed -e 's/\x01$//' -e 's/\x01\(error[:[]\|warning:\)/\n\1/g' | LC_ALL=C sort | tr '\001' '\n'
}

compile() {
    set --
    while IFS= read -r argument || [ -n "$argument" ]; do
        set -- "$@" "$argument"
    done <cook.args
    case $1 in
    test | bench) ;; # they name it --no-fail-fast, and with --no-run it means nothing
    *) set -- "$@" --keep-going ;;
    esac
    # In the one directory of an older cargo, the timings would stay in the image.
    [ "${LAYOUT:-build-dir}" != build-dir ] || set -- "$@" --timings
    [ ! -e "$RECIPES/jobs" ] || set -- "$@" --jobs "$(cat "$RECIPES/jobs")"
    keep_apart cargo "$@" --locked --offline --message-format=json
}

# keep_apart COMMAND...: what is no unit goes elsewhere, unless this cargo has one directory for everything.
keep_apart() {
    case ${LAYOUT:-build-dir} in
    build-dir) "$@" --target-dir "$TARGET" ;;
    *) "$@" ;;
    esac
}

# Beside a cook: what processor time it has had, as on a busy machine its seconds say little.
watch_clock() {
    read -r _ _ _ _ _ session _ <"/proc/$$/stat"
    : >"$CLOCK"
    while :; do
        read -r uptime _ </proc/uptime
        printf '%s %s\n' "$uptime" "$(processor_ticks)" >>"$CLOCK"
        sleep 0.5
    done
}

# Of all processes of the session, with that of the children they waited for. A process may end while it is read.
processor_ticks() {
    { cat /proc/[0-9]*/stat 2>/dev/null || :; } |
        awk -v session="$session" '{ sub(/^.*\) /, "") } $4 == session { t += $12 + $13 + $14 + $15 } END { print t + 0 }'
}

# What nobody can measure twice alike must not be in the image: it goes into the log, from where factory takes it.
tell_measured() {
    page=$TARGET/cargo-timings/cargo-timing.html
    [ -e "$page" ] || return 0
    tell "$1" clock <"$CLOCK"
    sed -n '/^const UNIT_DATA = /,/\];$/p' "$page" | tell "$1" timings
    sed -n -e '/^{"reason":"compiler-artifact".*"fresh":false}/p' -e '/^{"reason":"build-script-executed"/p' "$MESSAGES" |
        tell "$1" messages
}

# The bytes of each unit's own files, by the hash in their names; a file with two names is stored once.
tell_sizes() {
    find "$BUILD_DIR" -type f -exec stat -c '%i %s %n' {} + |
        awk -v root="$BUILD_DIR" 'BEGIN { hash = "-"; for (i = 0; i < 16; i++) hash = hash "[0-9a-f]"; hash = hash "[./]" }
            !seen[$1]++ {
                path = substr($0, length($1 " " $2 " " root) + 1)
                if (match(path, hash)) bytes[substr(path, RSTART + 1, 16)] += $2
            }
            END { for (one in bytes) printf "%s %.0f\n", one, bytes[one] }' |
        tell - sizes
}

tell() {
    gzip -9 | base64 -w 3000 | sed "s/^/factory-measured $1 $2 /" >&2
}

# Two path packages of one name in one build directory, and cargo may run the first one's code for the second.
forget_recipe() {
    set --
    while IFS= read -r argument || [ -n "$argument" ]; do
        set -- "$@" "$argument"
    done <clean.args
    keep_apart cargo "$@" --locked --offline --quiet
    rm -rf "$TARGET"
    own=$(sed -n '/^--package$/{n;p;}' clean.args)
    [ -n "$own" ] || fail "recipe $recipe: its clean.args name no --package"
    for name in $own; do
        left=$(units_named "$name" && units_named "$(printf '%s\n' "$name" | tr - _)")
        [ -z "$left" ] || fail "recipe $recipe: cargo left units of $name behind: $left"
    done
}

units_named() {
    find "$BUILD_DIR" \( -name "$1" -o -name "$1-*" -o -name "lib$1-*" -o -name "$1.*" -o -name "lib$1.*" \) -print
}

main
