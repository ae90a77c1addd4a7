#!/bin/sh
# warm-doctor: names what keeps the units of a project from being fresh in this image, and what to do; counts the
# hits of a build. It reads files and asks cargo and rustc for their versions. Nothing of the project is executed.
#
# Each layer of the image has a `warm.list` in $SHARE/<layer>/, one fact a line, which docs/images.md describes.
set -eu
LC_ALL=C
export LC_ALL

SHARE=${WARM_DOCTOR_SHARE:-/usr/local/share/rust-warm-factory}
TAB=$(printf '\t')
BYTE_ORDER_MARK=$(printf '\357\273\277')
# `[workspace]`, `workspace.members = ` or `workspace = {`.
OF_A_WORKSPACE='(\[[[:space:]]*workspace[[:space:]]*[].]|workspace[[:space:]]*(\.|=[[:space:]]*\{))'
MOST_NAMED=10
MOST_INCLUDED=100
# Variables that programs ask for when they run, and no build script.
READ_BY_PROGRAMS='CARGO_WORKSPACE_DIR RUST_BACKTRACE RUST_LIB_BACKTRACE RUST_LOG RUST_LOG_STYLE RUST_MIN_STACK RUST_TEST_NOCAPTURE RUST_TEST_THREADS'
IFS='
'

# shellcheck disable=SC2016
USAGE='usage: warm-doctor [--json] [DIRECTORY]
       warm-doctor --after-build [--json] [--min-hit PERCENT]
                   [--report-to FOLDER|URL [--report-as NAME] [--variant NAME] [--require-report]] FILE

The first names each clause of the contract that the project in DIRECTORY (by default: here) breaks, where, and what
to do. The second counts the hits in what `cargo build --message-format=json` wrote to FILE; `-` stands for stdin. It
can leave them as a miss report, which the next `factory plan --misses` weighs in: in a folder, by PUT below a URL that
ends in `/`, by POST to any other. FACTORY_REPORT_TOKEN is sent as bearer token. NAME is the repository (by default
GITHUB_REPOSITORY, CI_PROJECT_PATH or the name of this folder) or what was built (release). A report that cannot be
delivered is a warning, with --require-report an error.

exit code: 0 all is well; 1 a clause is broken, the build failed or has too few hits; 2 usage; 4 not such an image, or a
required report was not delivered'

main() {
    answer=text
    task=examine
    min_hit=
    report_to=
    report_as=
    variant=release
    require_report=
    only_after=
    while [ $# -gt 0 ]; do
        case $1 in
        --json) answer=json ;;
        --after-build) task=count ;;
        --min-hit)
            [ $# -gt 1 ] || usage "--min-hit: name a percentage"
            shift
            min_hit=$1
            only_after=--min-hit
            ;;
        --report-to | --report-as | --variant)
            [ $# -gt 1 ] && [ -n "$2" ] || usage "$1: needs a value"
            case $1 in
            --report-to) report_to=$2 ;;
            --report-as) report_as=$2 ;;
            --variant) variant=$2 ;;
            esac
            only_after=$1
            shift
            ;;
        --require-report)
            require_report=yes
            only_after=$1
            ;;
        -h | --help)
            printf '%s\n' "$USAGE"
            exit 0
            ;;
        -?*) usage "$1: no such option" ;;
        *) break ;;
        esac
        shift
    done
    [ $# -le 1 ] || usage "$2: one argument too many"
    case $min_hit in
    '' | 100 | [0-9] | [0-9][0-9]) ;;
    *) usage "--min-hit $min_hit: write a whole percentage, 0 to 100" ;;
    esac
    [ -z "$report_to" ] || prepare_report
    work=$(mktemp -d) || fail 4 "no room for temporary files in ${TMPDIR:-/tmp}"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    read_contract
    # From here on a `*` is a `*`, and only ends of lines part words.
    set -f
    if [ "$task" = count ]; then
        [ $# -eq 1 ] || usage "--after-build: name the file with cargo's messages, or - for stdin"
        count_hits "$1"
    else
        [ -z "$only_after" ] || usage "$only_after goes with --after-build"
        examine "${1:-.}"
    fi
}

usage() {
    printf 'error: %s\n\n%s\n' "$1" "$USAGE" >&2
    exit 2
}

fail() {
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

# What the image is ---------------------------------------------------------------------------------------------------

read_contract() {
    cat "$SHARE"/*/warm.list >"$work/unsorted" 2>/dev/null ||
        fail 4 "$SHARE: no layer has a warm.list here: this is not an image that factory built, or it is incomplete"
    sort -u "$work/unsorted" >"$work/warm"
    cargo_home=$(fact cargo-home)
    build_dir=$(fact build-dir)
    layout=$(fact layout)
    release=$(fact release)
    host=$(fact host)
    layers=$(sed -n 's/^layer //p' "$work/warm" | paste -sd ' ' -)
}

# fact NAME: the value of a fact that all layers share.
fact() {
    sed -n "s/^$1 //p" "$work/warm" | head -n 1
}

# Examining a project -------------------------------------------------------------------------------------------------

examine() {
    [ -d "$1" ] || usage "$1: no such directory"
    directory=$(cd "$1" && pwd -P)
    root=$(workspace_root)
    : >"$work/findings"
    : >"$work/config"
    : >"$work/manifest"
    check_cargo_home
    check_owner
    check_cargo
    if [ -n "$root" ]; then
        flatten "$root/Cargo.toml" >"$work/manifest"
    else
        note project "$directory" "no Cargo.toml here or above" \
            "run warm-doctor in a project; only the surroundings were examined"
    fi
    read_configuration
    check_build_dir
    check_toolchain
    find_flags
    check_rustflags
    check_linker
    check_target
    check_profiles
    check_sources
    check_variables
    check_wrapper
    if [ -n "$root" ]; then
        check_lock
    fi
    report_findings
}

# The nearest directory from here up whose Cargo.toml has a workspace, else the nearest with a Cargo.toml.
workspace_root() {
    nearest=
    for folder in $(ancestors); do
        manifest=${folder%/}/Cargo.toml
        [ -f "$manifest" ] || continue
        nearest=${nearest:-$folder}
        if grep -Eq "^($BYTE_ORDER_MARK)?[[:space:]]*$OF_A_WORKSPACE" "$manifest"; then
            nearest=$folder
            break
        fi
    done
    printf '%s\n' "$nearest"
}

# The examined directory and all above it, nearest first.
ancestors() {
    printf '%s\n' "$directory" | awk '{
        for (path = $0; path != ""; sub(/\/[^\/]*$/, "", path)) print path
        print "/"
    }'
}

# Lines `PLACE<tab>KEY<tab>VALUE` of all configuration that cargo reads here, what wins first.
read_configuration() {
    for folder in $(ancestors); do
        [ "$folder/.cargo" != "$cargo_home" ] || continue
        # Where both are, cargo reads the old name.
        for file in "${folder%/}/.cargo/config" "${folder%/}/.cargo/config.toml"; do
            if [ -f "$file" ]; then
                add_configuration "$file"
                break
            fi
        done
    done
    if [ -f "$cargo_home/config.toml" ]; then
        add_configuration "$cargo_home/config.toml"
    fi
}

# add_configuration FILE: its lines, and those of what it includes, which wins less; what is included last wins most.
add_configuration() {
    waiting=$1
    number=0
    while [ -n "$waiting" ] && [ "$number" -lt "$MOST_INCLUDED" ]; do
        included=${waiting%%"$IFS"*}
        waiting=${waiting#"$included"}
        waiting=${waiting#"$IFS"}
        number=$((number + 1))
        flatten "$included" >"$work/one"
        cat "$work/one" >>"$work/config"
        # Before 1.94, cargo passes over them in silence.
        [ "${minor:-94}" -ge 94 ] || continue
        awk -F "$TAB" '$2 == "include/path" { print $3 }' "$work/one" >"$work/included"
        while read -r name; do
            case $name in
            /*) ;;
            *) name=${included%/*}/$name ;;
            esac
            # Without one that it needs cargo does not build, and says so.
            [ ! -f "$name" ] || waiting=$name${waiting:+$IFS$waiting}
        done <"$work/included"
    done
}

check_cargo_home() {
    if [ -z "${CARGO_HOME:-}" ]; then
        broken cargo-home environment "CARGO_HOME is not set: cargo takes ${HOME:-~}/.cargo, and nothing is fresh" \
            "export CARGO_HOME=$cargo_home"
    elif [ "$CARGO_HOME" != "$cargo_home" ]; then
        broken cargo-home environment "CARGO_HOME=$CARGO_HOME: units are fresh under $cargo_home only, and not behind a link to it" \
            "export CARGO_HOME=$cargo_home"
    fi
}

check_owner() {
    for folder in "$cargo_home" "$build_dir"; do
        if [ ! -d "$folder" ]; then
            broken owner "$folder" "is not there" "take a whole image: something removed or hid this directory"
        elif [ ! -w "$folder" ]; then
            # shellcheck disable=SC2012 # no path of ours has odd characters, and stat is not everywhere
            group=$(ls -ldn "$folder" | awk '{ print $4 }')
            broken owner "$folder" "uid $(id -u) with the groups $(id -G) cannot write here" \
                "run as a member of group $group: docker run --group-add $group, or runAsGroup and fsGroup in Kubernetes"
        fi
    done
    if [ "$(umask)" = 0022 ] && [ "$(id -u)" -ne 0 ]; then
        note owner environment "umask 0022: what this user compiles, the next user of the group cannot replace" \
            "umask 002, where several users build in one container"
    fi
}

check_cargo() {
    if ! version=$(cd / && cargo --version 2>/dev/null); then
        broken cargo PATH "no cargo that runs on PATH ($PATH)" "add $cargo_home/bin to PATH"
        return
    fi
    minor=$(printf '%s\n' "$version" | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
    if [ "$layout" = build-dir ] && [ -n "$minor" ] && [ "$minor" -lt 91 ]; then
        broken cargo PATH "$version knows no build.build-dir, which came with 1.91" \
            "build with the cargo of the image, $release"
    fi
}

# Where the units are: build.build-dir, or build.target-dir for a cargo that has nothing better.
check_build_dir() {
    for variable in CARGO_BUILD_BUILD_DIR CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR; do
        eval "value=\${$variable:-}"
        case $layout-$variable in
        *-CARGO_BUILD_BUILD_DIR | target-dir-*) leads_away=yes ;;
        *) leads_away= ;;
        esac
        # shellcheck disable=SC2154 # set by eval
        if [ -z "$value" ] || [ "$value" = "$build_dir" ]; then
            continue
        elif [ -n "$leads_away" ]; then
            broken build-dir environment "$variable=$value: the warm units are in $build_dir" "unset $variable"
        else
            note build-dir environment "$variable is set: no harm to the warm units, but sccache misses for it" \
                "set build.target-dir in a configuration file instead, where you use sccache"
        fi
    done
    set_here=$(setting_of "build/$layout")
    if [ -z "$set_here" ]; then
        broken build-dir "$cargo_home/config.toml" "does not set build.$layout = \"$build_dir\" any more" \
            "put it back: add settings to this file instead of replacing it"
    elif [ "$(value_in "$set_here")" != "$build_dir" ]; then
        broken build-dir "$(place_in "$set_here")" \
            "build.$layout = \"$(value_in "$set_here")\": the warm units are in $build_dir" "remove this key"
    fi
}

check_toolchain() {
    pin=
    for folder in $(ancestors); do
        for file in "${folder%/}/rust-toolchain" "${folder%/}/rust-toolchain.toml"; do
            if [ -z "$pin" ] && [ -f "$file" ]; then
                pin=$file
                judge_pin "$file"
            fi
        done
    done
    for variable in RUSTUP_TOOLCHAIN RUSTC CARGO_BUILD_RUSTC; do
        eval "value=\${$variable:-}"
        # shellcheck disable=SC2154 # set by eval
        [ -z "$value" ] || pin=${pin:-environment}
        case $variable$value in
        RUSTC | CARGO_BUILD_RUSTC | RUSTUP_TOOLCHAIN | RUSTUP_TOOLCHAIN"$release"*) ;;
        *) compare_rustc "environment" "$variable=$value" "unset $variable" ;;
        esac
    done
    compiler=$(setting_of build/rustc)
    if [ -n "$compiler" ]; then
        broken toolchain "$(place_in "$compiler")" "build.rustc = \"$(value_in "$compiler")\": another compiler than the units'" \
            "remove this key"
    elif [ -z "$pin" ]; then
        # With a pin, rustup might download a toolchain before it answers.
        compare_rustc PATH "the rustc on PATH" "build with the rustc of the image"
    fi
}

judge_pin() {
    if grep -q = "$1"; then
        flatten "$1" | awk -F "$TAB" '$2 == "toolchain/channel"' >"$work/pin"
        where=$(cut -f1 "$work/pin")
        channel=$(cut -f3 "$work/pin")
    else
        # The old form has nothing but the name.
        where=$1:1
        channel=$(tr -d '[:space:]' <"$1")
    fi
    # A pin may only ask for components.
    [ -n "$channel" ] || return 0
    case $channel in
    "$release" | "$release-$host") return 0 ;;
    esac
    if command -v rustup >/dev/null 2>&1; then
        broken toolchain "$where" "pins $channel: rustup takes, or downloads, that toolchain, and the units are of $release" \
            "pin $release, leave the file out of the build (.dockerignore), or set RUSTUP_TOOLCHAIN=$release"
    else
        note toolchain "$where" "pins $channel; there is no rustup here, so $release builds all the same" \
            "pin $release to say what is built with"
    fi
}

compare_rustc() {
    rustc=${RUSTC:-${CARGO_BUILD_RUSTC:-rustc}}
    sed -n 's/^rustc //p' "$work/warm" | sort >"$work/rustc-cooked"
    (cd / && "$rustc" -vV) 2>/dev/null | sort >"$work/rustc-here" || true
    if ! cmp -s "$work/rustc-cooked" "$work/rustc-here"; then
        says=$(grep '^rustc ' "$work/rustc-here" || printf 'no compiler that runs\n')
        broken toolchain "$1" "$2 is $says, and the units are of $(grep '^rustc ' "$work/rustc-cooked")" "$3"
    fi
}

# The flags as cargo chooses them, of the first source that has any: sets words, and what of which origin they are.
find_flags() {
    joined_host=$(printf '%s' "$host" | tr 'a-z.-' 'A-Z__')
    origin=
    what=
    words=
    if [ "${CARGO_ENCODED_RUSTFLAGS+set}" = set ]; then
        origin=environment what=CARGO_ENCODED_RUSTFLAGS words=$(printf '%s' "$CARGO_ENCODED_RUSTFLAGS" | tr '\037' ' ')
    elif [ "${RUSTFLAGS+set}" = set ]; then
        origin=environment what=RUSTFLAGS words=$RUSTFLAGS
    else
        # Flags decide which cfg(...) hold, and these which flags there are: cargo takes the second answer.
        configured_flags alone
        ask_cfgs
        configured_flags with-conditions
    fi
    ask_cfgs
    words=$(printf '%s' "$words" | awk '{ $1 = $1; print }')
}

# What rustc says under the flags in words. It gets those that decide it: others may name files and programs.
ask_cfgs() {
    deciding=$(printf '%s' "$words" | awk "$DECIDING_FLAGS")
    # shellcheck disable=SC2086 # a word for each flag
    (cd / && rustc --print cfg $deciding) >"$work/cfg" 2>/dev/null || : >"$work/cfg"
}

# Those that some unit was cooked with are fine.
check_rustflags() {
    # A layer may have nothing of its own.
    grep -q '^context ' "$work/warm" || return 0
    if sed -n 's/^flags [^ ]* \{0,1\}//p' "$work/warm" | grep -Fxq -- "$words"; then
        return
    fi
    if [ -z "$words" ]; then
        broken rustflags "${origin:-environment}" "no flags, and every unit was cooked with some: $(cooked_flags)" \
            "remove what takes the flags of $cargo_home/config.toml away"
    else
        broken rustflags "$origin" "$what = \"$words\": no unit was cooked with these flags, so none is fresh" \
            "unset it, or have this repository analysed, so that its units are cooked with these flags too"
    fi
}

# of_target KEY alone|with-conditions: the lines of the configuration's [target.*] that hold for the host.
of_target() {
    awk -F "$TAB" -v host="$host" -v key="$1" -v conditions="$2" -v cfgs="$work/cfg" "$CFG_EVALUATOR"'
        BEGIN { if (conditions == "with-conditions") read_cfgs(cfgs) }
        split($2, part, "/") == 3 && part[1] == "target" && part[3] == key {
            name = unescaped(part[2])
            if (name == host || (conditions == "with-conditions" && name ~ /^cfg\(/ && holds(name))) print
        }' "$work/config"
}

# Flags of [target.*], which replace those of [build]; with those of [target.'cfg(...)'] or without.
configured_flags() {
    eval "of_variable=\${CARGO_TARGET_${joined_host}_RUSTFLAGS-}"
    of_target rustflags "$1" >"$work/target-flags"
    # shellcheck disable=SC2154 # set by eval
    if [ -s "$work/target-flags" ] || [ -n "$of_variable" ]; then
        origin=$(head -n 1 "$work/target-flags" | cut -f1)
        origin=${origin:-environment}
        what=$(head -n 1 "$work/target-flags" | cut -f2 | readable)
        what=${what:-CARGO_TARGET_${joined_host}_RUSTFLAGS}
        words=$(printf '%s %s' "$(awk -F "$TAB" -v host="$host" "$TARGET_FLAGS" "$work/target-flags")" "$of_variable")
        return
    fi
    awk -F "$TAB" '$2 == "build/rustflags"' "$work/config" >"$work/build-flags"
    if [ -s "$work/build-flags" ] || [ -n "${CARGO_BUILD_RUSTFLAGS:-}" ]; then
        origin=$(head -n 1 "$work/build-flags" | cut -f1)
        origin=${origin:-environment}
        what=build.rustflags
        words=$(printf '%s %s' "$(reversed <"$work/build-flags" | cut -f3 | paste -sd ' ' -)" "${CARGO_BUILD_RUSTFLAGS:-}")
    fi
}

# Cargo joins lists, what wins last.
reversed() {
    awk '{ line[NR] = $0 } END { for (number = NR; number > 0; number--) print line[number] }'
}

cooked_flags() {
    sed -n 's/^flags [^ ]* //p' "$work/warm" | sort -u | head -n 3 | awk '{ printf "%s\"%s\"", (NR > 1 ? ", " : ""), $0 }'
}

check_linker() {
    of_target linker with-conditions | head -n 1 >"$work/linker"
    if [ -s "$work/linker" ]; then
        broken linker "$(cut -f1 "$work/linker")" \
            "$(cut -f2 "$work/linker" | readable) = \"$(cut -f3 "$work/linker")\": units were cooked with rustc's own linker" \
            "remove this key, or set the linker in the last build only, by cargo rustc -- -C linker=…"
    fi
    eval "linker=\${CARGO_TARGET_${joined_host}_LINKER:-}"
    # shellcheck disable=SC2154 # set by eval
    if [ -n "$linker" ]; then
        broken linker environment "CARGO_TARGET_${joined_host}_LINKER=$linker: units were cooked with rustc's own linker" \
            "unset it"
    fi
}

check_target() {
    if [ -n "${CARGO_BUILD_TARGET:-}" ]; then
        judge_target environment CARGO_BUILD_TARGET "$CARGO_BUILD_TARGET" "unset it"
    else
        target=$(setting_of build/target)
        [ -z "$target" ] || judge_target "$(place_in "$target")" build.target "$(value_in "$target")" "remove this key"
    fi
}

judge_target() {
    for triple in $(printf '%s' "$3" | tr ' ' '\n'); do
        if ! awk -v triple="$triple" '$1 == "context" && $5 == triple { found = 1 } END { exit !found }' "$work/warm"; then
            broken target "$1" "$2 = \"$triple\": with --target every unit of the target side is another one, and none was cooked" \
                "$4: without it cargo builds for $host all the same; or have this repository analysed with it"
        fi
    done
}

# Each cargo profile that units were cooked for: the keys of the manifest, of configuration files and of variables.
check_profiles() {
    awk '$1 == "context" { print $4 }' "$work/warm" | sort -u >"$work/profiles"
    while read -r profile; do
        env | awk -v profile="$profile" "$PROFILE_VARIABLES" >"$work/variables"
        cat "$work/variables" "$work/config" "$work/manifest" >"$work/profile-input"
        awk -F "$TAB" -v profile="$profile" -v warm="$work/warm" "$PROFILE_JUDGE" "$work/profile-input" >"$work/profile-findings"
        while IFS="$TAB" read -r kind place what advice; do
            "$kind" cargo-profile "$place" "$what" "$advice"
        done <"$work/profile-findings"
    done <"$work/profiles"
}

check_sources() {
    # Cargo names the directory of a registry's downloads by the host that they come from.
    hosts=$(find "$cargo_home/registry/cache" -mindepth 1 -maxdepth 1 -type d 2>/dev/null |
        sed -e 's,.*/,,' -e 's/-[0-9a-f]*$//' | paste -sd ' ' -)
    awk -F "$TAB" -v hosts="$hosts" "$SOURCES_JUDGE" "$work/config" "$work/manifest" >"$work/source-findings"
    while IFS="$TAB" read -r kind place what advice; do
        "$kind" sources "$place" "$what" "$advice"
    done <"$work/source-findings"
}

# What [env] sets, the image's own aside, under which its units were cooked.
check_variables() {
    awk -F "$TAB" -v own="$cargo_home/" -v harmless="$READ_BY_PROGRAMS" '
        index($1, own) != 1 && split($2, part, "/") > 1 && part[1] == "env" && !(part[2] in told) {
            told[part[2]] = 1
            if (!index(" " harmless " ", " " part[2] " ")) print $1 "\t" part[2]
        }' "$work/config" >"$work/set-variables"
    while IFS="$TAB" read -r place name; do
        note variables "$place" "[env] sets $name: units whose build script or macros ask for it are compiled" \
            "set it only where it is needed, or live with it: --after-build counts what it costs"
    done <"$work/set-variables"
}

check_wrapper() {
    for variable in RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_BUILD_RUSTC_WRAPPER CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER; do
        eval "value=\${$variable:-}"
        [ -z "$value" ] || note wrapper environment "$variable=$value: fresh units stay fresh and never reach it" \
            "keep it for what misses, such as sccache; nothing to do otherwise"
    done
    for key in build/rustc-wrapper build/rustc-workspace-wrapper; do
        wrapper=$(setting_of "$key")
        [ -z "$wrapper" ] || note wrapper "$(place_in "$wrapper")" \
            "$(printf '%s' "$key" | tr / .) = \"$(value_in "$wrapper")\": fresh units stay fresh and never reach it" \
            "keep it for what misses, such as sccache; nothing to do otherwise"
    done
}

check_lock() {
    if [ ! -f "$root/Cargo.lock" ]; then
        broken lock "$root/Cargo.toml" "no Cargo.lock: cargo resolves today's newest versions, and those are hardly the warm ones" \
            "commit Cargo.lock, and do not list it in .dockerignore"
        return
    fi
    awk "$LOCK_READER" "$root/Cargo.lock" >"$work/locked"
    awk -F "$TAB" -v lock="$root/Cargo.lock" -v counts="$work/lock-counts" "$LOCK_JUDGE" \
        "$work/warm" "$work/locked" >"$work/lock-findings"
    while IFS="$TAB" read -r kind place what advice; do
        "$kind" lock "$place" "$what" "$advice"
    done <"$work/lock-findings"
}

# broken|note CLAUSE PLACE WHAT ADVICE
broken() {
    printf 'broken\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$work/findings"
}

note() {
    printf 'note\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$work/findings"
}

# setting_of KEY: the line of the configuration that wins, or nothing.
setting_of() {
    awk -F "$TAB" -v key="$1" '$2 == key { print; exit }' "$work/config"
}

value_in() {
    printf '%s\n' "$1" | cut -f3
}

place_in() {
    printf '%s\n' "$1" | cut -f1
}

# A key as TOML has it.
readable() {
    sed -e 's,/,.,g' -e 's,%2F,/,g' -e "s/\\.\\(cfg(.*)\\)\\./.'\\1'./"
}

report_findings() {
    count=$(grep -c '^broken' "$work/findings" || true)
    awk -F "$TAB" -v answer="$answer" -v project="${root:-$directory}" -v layers="$layers" -v release="$release" \
        -v broken="$count" -v lock="$(cat "$work/lock-counts" 2>/dev/null)" -v most="$MOST_NAMED" "$JSON_TEXT$REPORT" "$work/findings"
    [ "$count" -eq 0 ] || exit 1
}

# Counting hits -------------------------------------------------------------------------------------------------------

count_hits() {
    if [ "$1" = - ]; then
        cat >"$work/messages"
    elif [ -f "$1" ]; then
        cat "$1" >"$work/messages"
    else
        usage "$1: no such file"
    fi
    grep -q '^{"reason":"build-finished"' "$work/messages" ||
        fail 2 "$1: holds no messages of a build that came to its end: cargo build --release --message-format=json > FILE"
    code=0
    : >"$work/hits"
    : >"$work/misses"
    : >"$work/amounts"
    awk -v answer="$answer" -v min_hit="$min_hit" -v most="$MOST_NAMED" -v work="$work" "$JSON_TEXT$COUNTER" \
        "$work/warm" "$work/messages" || code=$?
    [ -z "$report_to" ] || leave_report
    exit "$code"
}

# Miss reports --------------------------------------------------------------------------------------------------------

# What a report needs to know, and where it must not go: before anything else is done.
prepare_report() {
    [ "$task" = count ] || return 0
    report_as=${report_as:-${FACTORY_REPORT_AS:-${GITHUB_REPOSITORY:-${CI_PROJECT_PATH:-}}}}
    report_as=${report_as:-$(pwd -P | sed 's,.*/,,')}
    report_as=${report_as:-unnamed}
    [ "${#report_as}" -le 200 ] && [ "${#variant}" -le 200 ] || usage "--report-as, --variant: at most 200 characters"
    printf '%s' "$report_as$variant" | awk '/[\001-\037\177]/ { exit 1 }' || usage "--report-as, --variant: a control character"
    case $report_to in
    http://* | https://*) split_url "$report_to" ;;
    *://*) usage "--report-to: write https://HOST/PATH, or a folder" ;;
    esac
}

# scheme, host (with the port), path and shown: the URL without user, password and query, which may let somebody in.
split_url() {
    scheme=${1%%://*}
    rest=${1#*://}
    rest=${rest%%#*}
    host_part=${rest%%[/?]*}
    url_path=${rest#"$host_part"}
    url_host=${host_part##*@}
    shown=$scheme://$url_host${url_path%%\?*}
    case $rest in
    *[!!-~]*) usage "--report-to $shown: a blank or another odd character in a URL" ;;
    esac
    case $url_path in
    /*) ;;
    *) url_path=/$url_path ;;
    esac
    [ -n "$url_host" ] || usage "--report-to: a URL without a host"
    if [ "$host_part" != "$url_host" ]; then
        usage "--report-to $shown: put what logs in into FACTORY_REPORT_TOKEN, not into the URL"
    fi
    case ${FACTORY_REPORT_TOKEN:-} in
    *[!!-~]*) usage "FACTORY_REPORT_TOKEN: a blank or another odd character in it" ;;
    '') return 0 ;;
    esac
    case $scheme-$url_host in
    https-* | http-localhost | http-localhost:* | http-127.* | 'http-[::1]'*) ;;
    *) usage "--report-to $shown: the token in FACTORY_REPORT_TOKEN is not sent without TLS" ;;
    esac
}

leave_report() {
    if [ ! -s "$work/amounts" ]; then
        printf 'note: no miss report: the build did not come to a good end\n' >&2
        return 0
    fi
    write_report >"$work/report"
    name=$(sha256sum <"$work/report" | cut -c1-32).json
    case $report_to in
    *://*) send_report >"$work/trouble" 2>&1 ;;
    *) keep_report 2>"$work/trouble" ;;
    esac || {
        why=$(tail -n 1 "$work/trouble" | tr -d '\r')
        [ -z "$require_report" ] || fail 4 "${shown:-$report_to}: the miss report cannot be delivered: $why"
        printf 'warning: %s: the miss report cannot be delivered: %s\n' "${shown:-$report_to}" "$why" >&2
        return 0
    }
    printf 'reported to %s\n' "${shown:-$report_to/$name}" >&2
}

# docs/misses.md has the format. The topmost layer is the one with the longest chain under it.
write_report() {
    image=$(awk '$1 == "chain" && NF > most { most = NF; top = $NF } END { print top }' "$work/warm")
    awk -v repo="$report_as" -v variant="$variant" -v image="$image" -v plan="$(fact "plan $image")" -v rustc="$release" \
        -v date="$(date -u +%Y-%m-%d)" "$JSON_TEXT"'
        {
            printf "{\"schema\":1,\"repo\":%s,\"date\":%s,\"plan\":%s,\"rustc\":%s,\"variant\":%s,\"image\":%s,\n", json(repo), \
                json(date), json(plan), json(rustc), json(variant), json(image)
            printf "\"units\":{\"hit\":%d,\"total\":%d},\n", $1, $2
        }' "$work/amounts"
    printf '"warm":[%s],\n' "$(records hits)"
    printf '"misses":[%s]}\n' "$(records misses)"
}

records() {
    sort -u "$work/$1" | awk '{ printf "%s%s", (NR > 1 ? ",\n " : ""), $0 }'
}

# In one step: who reads the folder sees whole reports only.
keep_report() {
    mkdir -p "$report_to" && cp "$work/report" "$report_to/.$name.$$" && mv "$report_to/.$name.$$" "$report_to/$name"
}

send_report() {
    how=POST
    case $url_path in
    *[?]*) ;;
    */) how=PUT url_path=$url_path$name ;;
    esac
    if command -v curl >/dev/null 2>&1; then
        status=$(by_curl) || return 1
    else
        by_hand >"$work/answer" || true
        status=$(sed -n '1s,^HTTP/1\.[01] \([0-9]*\).*,\1,p' "$work/answer")
    fi
    case $status in
    2[0-9][0-9]) return 0 ;;
    '' | 000) [ -s "$work/trouble" ] || echo "the server does not answer" ;;
    *) echo "the server answered $status" ;;
    esac
    return 1
}

# Redirects are not followed: they would take the token to a server that nobody named. Nor is the token an argument,
# which every user of the machine could read.
by_curl() {
    {
        [ -z "${FACTORY_REPORT_TOKEN:-}" ] || printf 'header = "Authorization: Bearer %s"\n' \
            "$(printf '%s' "$FACTORY_REPORT_TOKEN" | sed 's/[\\"]/\\&/g')"
        printf 'url = "%s://%s%s"\n' "$scheme" "$url_host" "$(printf '%s' "$url_path" | sed 's/[\\"]/\\&/g')"
    } | curl --config - --globoff --silent --show-error --request "$how" --data-binary "@$work/report" \
        --header 'Content-Type: application/json' --header 'Expect:' --output /dev/null --write-out '%{http_code}' \
        --connect-timeout 10 --max-time 60 2>"$work/trouble"
}

# Slim images have no curl. What they have: openssl, which Debian's certificates need, and bash.
by_hand() {
    for variable in "${scheme}_proxy" "$(printf '%s_proxy' "$scheme" | tr '[:lower:]' '[:upper:]')" ALL_PROXY; do
        eval "value=\${$variable:-}"
        if [ -n "$value" ]; then
            echo "a proxy is set ($variable), which takes curl: install it" >"$work/trouble"
            return 1
        fi
    done
    name_part=${url_host%:*}
    port=${url_host##*:}
    case $url_host in
    *]) name_part=$url_host port= ;;
    *:*) ;;
    *) port= ;;
    esac
    {
        printf '%s %s HTTP/1.0\r\nHost: %s\r\nContent-Type: application/json\r\nConnection: close\r\n' \
            "$how" "$url_path" "$url_host"
        [ -z "${FACTORY_REPORT_TOKEN:-}" ] || printf 'Authorization: Bearer %s\r\n' "$FACTORY_REPORT_TOKEN"
        printf 'Content-Length: %d\r\n\r\n' "$(wc -c <"$work/report")"
        cat "$work/report"
    } >"$work/request"
    case $scheme in
    https)
        need openssl || return 1
        timeout 60 openssl s_client -quiet -verify_return_error -verify_hostname "$name_part" \
            -servername "$name_part" -connect "$name_part:${port:-443}" <"$work/request" 2>"$work/trouble"
        ;;
    http)
        need bash || return 1
        # shellcheck disable=SC2016 # for bash
        timeout 60 bash -c 'exec 3<>"/dev/tcp/$1/$2" && cat "$3" >&3 && cat <&3' - \
            "$name_part" "${port:-80}" "$work/request" 2>"$work/trouble"
        ;;
    esac
}

need() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "neither curl nor $1 is here: install one, or name a folder and let the CI keep it" >"$work/trouble"
        return 1
    }
}

# Reading TOML --------------------------------------------------------------------------------------------------------

# flatten FILE: a line `FILE:LINE<tab>KEY<tab>VALUE` for each value. The parts of a key are joined by `/` (one within a
# part is `%2F`), the items of an array by a blank.
flatten() {
    awk -v file="$1" "$TOML" "$1" || note project "$1" "cannot be read to its end as TOML" "cargo metadata says what is wrong"
}

# shellcheck disable=SC2016 # awk's variables
TOML='
# Cargo and rustup skip a byte order mark.
NR == 1 { sub(/^\357\273\277/, "") }
{ text = text $0 "\n" }

END {
    at = 1
    line = 1
    prefix = ""
    while (skip(1) != "") {
        if (char() == "[") header()
        else pair(prefix)
    }
}

function char() { return substr(text, at, 1) }

function next_char() {
    if (char() == "\n") line++
    at++
    return char()
}

# Over blanks and comments, and over ends of lines where `lines`; the character after them.
function skip(lines) {
    for (;;) {
        if (char() == "#") while (char() != "\n" && char() != "") at++
        if (char() == " " || char() == "\t" || char() == "\r" || (lines && char() == "\n")) next_char()
        else return char()
    }
}

function header() {
    if (next_char() == "[") next_char()
    prefix = keys("")
    while (char() == "]") next_char()
}

function pair(under,    path) {
    path = keys(under)
    if (char() != "=") give_up()
    next_char()
    skip(0)
    emit_line = line
    if (char() == "{") inline(path)
    else if (path == "include" && char() == "[") includes()
    else {
        found_value = value()
        print file ":" emit_line "\t" path "\t" found_value
    }
}

function keys(path,    part) {
    for (;;) {
        skip(0)
        if (char() == "\"" || char() == "\047") part = quoted()
        else {
            part = ""
            while (char() ~ /[A-Za-z0-9_-]/) { part = part char(); at++ }
            if (part == "") give_up()
        }
        gsub(/\//, "%2F", part)
        path = path (path == "" ? "" : "/") part
        if (skip(0) != ".") return path
        next_char()
    }
}

function inline(path) {
    next_char()
    while (skip(1) != "}") {
        if (char() == "") give_up()
        pair(path)
        if (skip(1) == ",") next_char()
    }
    next_char()
}

function value(    found) {
    if (char() == "\"" || char() == "\047") return quoted()
    if (char() == "[") return array()
    found = ""
    while (char() !~ /[],}#\n]/ && char() != "") { found = found char(); at++ }
    sub(/[ \t\r]+$/, "", found)
    if (found == "") give_up()
    return found
}

function array(    joined, started) {
    next_char()
    while (skip(1) != "]") {
        if (char() == "") give_up()
        # Tables in arrays say nothing that matters here.
        if (char() == "{") skip_table()
        else { joined = joined (started ? " " : "") value(); started = 1 }
        if (skip(1) == ",") next_char()
    }
    next_char()
    return joined
}

# A line for each: there may be blanks in a path, and each may be a table.
function includes() {
    next_char()
    while (skip(1) != "]") {
        if (char() == "") give_up()
        if (char() == "{") inline("include")
        else {
            emit_line = line
            found_value = value()
            print file ":" emit_line "\tinclude/path\t" found_value
        }
        if (skip(1) == ",") next_char()
    }
    next_char()
}

function skip_table(    depth) {
    depth = 0
    do {
        if (skip(1) == "") give_up()
        if (char() == "\"" || char() == "\047") { quoted(); continue }
        depth += (char() == "{") - (char() == "}")
        next_char()
    } while (depth > 0)
}

function quoted(    mark, found, whole) {
    mark = char()
    whole = substr(text, at, 3) == mark mark mark
    at += whole ? 3 : 1
    while (whole ? substr(text, at, 3) != mark mark mark : char() != mark) {
        if (char() == "" || (!whole && char() == "\n")) give_up()
        if (mark == "\"" && char() == "\\") next_char()
        found = found (char() ~ /[\n\t]/ ? " " : char())
        next_char()
    }
    at += whole ? 3 : 1
    return found
}

function give_up() { exit 1 }
'

# shellcheck disable=SC2016
DECIDING_FLAGS='
{
    for (number = 1; number <= NF; number++) {
        flag = $number
        if (flag == "-C" || flag == "--codegen") flag = "-C" $(++number)
        else if (flag == "--cfg") flag = "--cfg=" $(++number)
        sub(/^--codegen=/, "-C", flag)
        if (flag ~ /^(-O|--cfg=[A-Za-z0-9_]+(="[^"]*")?|-C(target-feature|target-cpu|panic|debug-assertions|opt-level)=[A-Za-z0-9_.,+-]+)$/)
            print flag
    }
}
'

# Of lines of [target.*], what wins first: the flags in the order of cargo, the platform's and then by key.
# shellcheck disable=SC2016
TARGET_FLAGS='
{
    split($2, part, "/")
    key = part[2] == host ? "" : part[2]
    gsub(/%2F/, "/", key)
    if (!(key in flags)) {
        for (at = ++count; at > 1 && keys[at - 1] > key; at--) keys[at] = keys[at - 1]
        keys[at] = key
    }
    flags[key] = $3 " " flags[key]
}
END { for (at = 1; at <= count; at++) printf "%s", flags[keys[at]] }
'

# shellcheck disable=SC2016
CFG_EVALUATOR='
function read_cfgs(path,    row) { while ((getline row < path) > 0) known[row] = 1 }

function unescaped(part) { gsub(/%2F/, "/", part); return part }

# Whether `cfg(...)` holds for the compiler of the image.
function holds(expression) {
    rest = expression
    return predicate()
}

function predicate(    word, result, item, value) {
    gsub(/^[ \t]+/, "", rest)
    if (match(rest, /^(cfg|all|any|not)[ \t]*\(/)) {
        word = substr(rest, 1, RLENGTH)
        rest = substr(rest, RLENGTH + 1)
        sub(/[ \t]*\(/, "", word)
        result = word == "any" ? 0 : 1
        gsub(/^[ \t]+/, "", rest)
        while (rest != "" && rest !~ /^\)/) {
            item = predicate()
            if (word == "any") result = result || item
            else if (word == "not") result = !item
            else result = result && item
            gsub(/^[ \t]*,?[ \t]*/, "", rest)
        }
        rest = substr(rest, 2)
        return result
    }
    if (!match(rest, /^[A-Za-z_][A-Za-z0-9_]*([ \t]*=[ \t]*"[^"]*")?/)) { rest = ""; return 0 }
    value = substr(rest, 1, RLENGTH)
    rest = substr(rest, RLENGTH + 1)
    sub(/[ \t]*=[ \t]*/, "=", value)
    return value == "true" || value in known
}
'

# shellcheck disable=SC2016
PROFILE_VARIABLES='
BEGIN {
    prefix = "CARGO_PROFILE_" toupper(profile) "_"
    gsub(/-/, "_", prefix)
}
index($0, prefix) == 1 {
    key = tolower(substr($0, length(prefix) + 1))
    value = key
    sub(/=.*/, "", key)
    sub(/^[^=]*=/, "", value)
    gsub(/_/, "-", key)
    sub(/^build-override-/, "build-override/", key)
    print "environment\tprofile/" profile "/" key "\t" value
}
'

# Of `PLACE<tab>profile/NAME/...<tab>VALUE`, the first of a key wins. What is as cargo has it by default is as if it
# were not written; what units do not depend on is passed over.
# shellcheck disable=SC2016
PROFILE_JUDGE='
BEGIN {
    dev = profile ~ /^(dev|test)$/
    default_of["opt-level"] = dev ? "0" : "3"
    default_of["debug"] = dev ? "2" : "0"
    default_of["debug-assertions"] = default_of["overflow-checks"] = dev ? "true" : "false"
    default_of["lto"] = "false"
    default_of["panic"] = "unwind"
    default_of["rpath"] = "false"
    while ((getline row < warm) > 0) {
        split(row, word, " ")
        if (word[1] == "context" && word[4] == profile) {
            contexts[word[2]] = word[6]
            order[++count] = word[2]
        }
        if (word[1] == "setting") { cooked[word[2], word[3]] = word[4]; listed[word[2]] = listed[word[2]] " " word[3] }
        if (word[1] ~ /^(setting|override)$/) cooked_somewhere[word[3], word[4]] = 1
    }
}

{
    parts = split($2, part, "/")
    if (part[1] != "profile" || parts < 3) next
    if (part[2] == profile) defined = 1
    if (parts == 3 && part[3] == "inherits" && part[2] == profile) parent = $3
    rows[++number] = $0
}

END {
    # A cargo profile of some other repository is nothing to this one.
    if (!defined && profile !~ /^(dev|release|test|bench)$/) exit
    for (number = 1; number in rows; number++) take(rows[number], profile)
    if (parent == "" && profile == "test") parent = "dev"
    if (parent == "" && profile == "bench") parent = "release"
    if (parent != "") for (number = 1; number in rows; number++) take(rows[number], parent)
    judge_overrides()
    judge_settings()
}

function take(row, name,    field, part, parts, key, value) {
    split(row, field, "\t")
    parts = split(field[2], part, "/")
    if (part[2] != name) return
    value = normal(part[parts], field[3])
    # For what comes from registries, `package."*"` is what counts.
    if (parts == 5 && part[3] == "package" && part[4] == "*" && !((name, part[5]) in starred)) {
        starred[name, part[5]] = 1
        place[part[5]] = field[1]
        settled[part[5]] = 1
        if (value == default_of[part[5]]) delete mine[part[5]]
        else mine[part[5]] = value
    } else if (parts == 3) {
        key = part[3]
        if (key in mine || key in settled || key ~ /^(inherits|incremental)$/) return
        settled[key] = 1
        place[key] = field[1]
        if (value != default_of[key]) mine[key] = value
    } else if (part[3] ~ /^(package|build-override)$/ && !(field[2] in override_place)) {
        override_place[field[2]] = field[1]
        override_key[field[2]] = part[parts]
        override_value[field[2]] = value
    }
}

# As cargo writes values in its unit graph.
function normal(key, value) {
    if (key == "debug") {
        if (value == "true" || value == "full") return "2"
        if (value == "false" || value == "none") return "0"
        if (value == "limited") return "1"
    }
    if (key == "strip") {
        if (value == "true") return "symbols"
        if (value == "false") return "none"
    }
    return value
}

function judge_settings(    number, id, best, least, differing, key, words, total) {
    least = 1000
    for (number = 1; number <= count; number++) {
        id = order[number]
        differing = 0
        for (key in mine) if (!((id, key) in cooked) || cooked[id, key] != mine[key]) differing++
        total = split(listed[id], words, " ")
        for (key = 1; key <= total; key++) if (!(words[key] in mine)) differing++
        if (differing < least || (differing == least && contexts[id] + 0 > contexts[best] + 0)) { least = differing; best = id }
    }
    if (least == 0) return
    for (key in mine)
        if (!((best, key) in cooked) || cooked[best, key] != mine[key])
            say(place[key], "[profile." profile "] " key " = " mine[key] ": units were cooked with " \
                ((best, key) in cooked ? cooked[best, key] : "the default" (default_of[key] == "" ? "" : ", " default_of[key])), \
                "remove it, or let the organisation agree on it and have the images cooked with it")
    total = split(listed[best], words, " ")
    for (key = 1; key <= total; key++)
        if (!(words[key] in mine))
            say(words[key] in place ? place[words[key]] : "Cargo.toml", \
                "[profile." profile "] has no " words[key] ", and units were cooked with " words[key] " = " cooked[best, words[key]], \
                "add " words[key] " = " cooked[best, words[key]] " to [profile." profile "]")
}

function judge_overrides(    path, shown) {
    for (path in override_place) {
        if ((override_key[path], override_value[path]) in cooked_somewhere) continue
        shown = path
        sub(/^profile\//, "", shown)
        gsub(/\//, ".", shown)
        gsub(/%2F/, "/", shown)
        say(override_place[path], "[profile." shown "] = " override_value[path] ": no unit was cooked with this override", \
            "remove it for crates of a registry, or have this repository analysed")
    }
}

function say(where, what, advice) { print "broken\t" where "\t" what "\t" advice | "sort" }
'

# shellcheck disable=SC2016
SOURCES_JUDGE='
{ parts = split($2, part, "/") }
part[1] == "source" && parts == 3 {
    if (part[3] == "replace-with" && !(part[2] in replaced)) { replaced[part[2]] = $3; where[part[2]] = $1 }
    else if (!((part[2], part[3]) in kind)) { kind[part[2], part[3]] = $3; kind_at[part[2]] = $1 }
}
$2 == "paths" {
    print "broken\t" $1 "\tpaths = \"" $3 "\": what is taken from these folders, and all above it, is compiled\tremove this key"
}
part[1] == "patch" && parts >= 3 {
    name = part[3]
    if (!((part[2], name) in patched)) {
        patched[part[2], name] = 1
        print "note\t" $1 "\t[patch] of " name ": it and all that stands on it is compiled\tdrop the patch once its version is published"
    }
}
END {
    for (name in replaced) {
        to = replaced[name]
        for (hops = 0; to in replaced && hops < 9; hops++) to = replaced[to]
        if ((to, "directory") in kind)
            broken(name, "vendored sources (" kind[to, "directory"] "): units are fresh with the sources of the registry only", \
                "build without this table: the image has the downloads, and needs no network for what is warm")
        else if ((to, "local-registry") in kind || (to, "git") in kind)
            broken(name, "crates come from " to ", which is no mirror of the registry", "remove this table, or use a registry mirror")
        else if (!cooked_from(kind[to, "registry"]))
            broken(name, "crates come from the mirror " kind[to, "registry"] ", and the units were cooked from " hosts, \
                "leave this table out of builds on the image, which has the downloads of what is warm; the path of a mirror is part of every unit")
    }
}
function cooked_from(url,    host, number, names, count) {
    host = url
    sub(/^(sparse\+)?[a-z+]+:\/\//, "", host)
    sub(/^[^\/@]*@/, "", host)
    sub(/[:\/].*/, "", host)
    count = split(hosts, names, " ")
    for (number = 1; number <= count; number++) if (names[number] == host) return 1
    return 0
}
function broken(name, what, advice) { print "broken\t" where[name] "\tsource." name ".replace-with: " what "\t" advice }
'

# `NAME<tab>VERSION<tab>registry|git<tab>LINE` for each package of a lock that is not in the workspace.
# shellcheck disable=SC2016
LOCK_READER='
function flush() { if (source != "") print name "\t" version "\t" source "\t" at }
/^\[\[package\]\]/ { flush(); name = version = source = ""; at = NR }
/^name = / { name = text() }
/^version = / { version = text() }
/^source = / { source = text() ~ /^(registry|sparse)\+/ ? "registry" : "git" }
END { flush() }
function text(    quoted) { quoted = $3; gsub(/"/, "", quoted); return quoted }
'

# shellcheck disable=SC2016
LOCK_JUDGE='
function range(version,    part, parts, number) {
    sub(/[-+].*/, "", version)
    parts = split(version, part, ".")
    for (number = 1; number < parts && part[number] == "0"; number++);
    return number "." part[number]
}
FNR == NR {
    split($0, word, " ")
    if (word[1] == "unit") {
        warm[word[3], word[4]] = 1
        in_range[word[3], range(word[4])] = word[4]
    }
    next
}
$3 == "git" { git++; next }
{
    total++
    if (($1, $2) in warm) { hits++; next }
    if (!(($1, range($2)) in in_range)) { cold++; next }
    drifted++
    other = in_range[$1, range($2)]
    print "broken\t" lock ":" $4 "\t" $1 " " $2 " is locked, and " other " is warm\tcargo update -p " $1 "@" $2 " --precise " other
}
END {
    print hits + 0, drifted + 0, cold + 0, git + 0 >counts
    print "note\t" lock "\t" hits + 0 " of " total + 0 " locked registry packages are warm at their version, " \
        drifted + 0 " at another one, " cold + 0 " not at all\t" \
        (cold ? "those for tests and other platforms cost nothing but the network: cargo asks the index for each; factory check names the rest" \
              : "features are compared by a build: cargo build --release --message-format=json | warm-doctor --after-build -")
    if (git) print "note\t" lock "\t" git " packages come from git: never warm, nor what stands on them\tpublish them, or live with it"
}
'

# Saying it -----------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2016
JSON_TEXT='
function json(text) {
    gsub(/\\/, "\\\\", text)
    gsub(/"/, "\\\"", text)
    gsub(/\t/, "\\t", text)
    gsub(/[\001-\037]/, " ", text)
    return "\"" text "\""
}
'

# shellcheck disable=SC2016
REPORT='
{ kind[NR] = $1; clause[NR] = $2; place[NR] = $3; what[NR] = $4; advice[NR] = $5 }
END { if (answer == "json") report_json(); else report_text() }

function report_text(    number, wanted, round, named, word, barred) {
    print "project " project
    print "image   layers " layers ", rustc " release
    for (round = 1; round <= 2; round++) {
        wanted = round == 1 ? "broken" : "note"
        for (number = 1; number <= NR; number++) {
            if (kind[number] != wanted || ++named[clause[number], wanted] > most) continue
            print ""
            if (wanted == "broken" && clause[number] == "owner") barred = 1
            print (wanted == "broken" ? "BROKEN " : "note   ") clause[number] ": " place[number]
            print "       " what[number]
            print "       do: " advice[number]
        }
    }
    for (number in named)
        if (named[number] > most) {
            split(number, word, SUBSEP)
            print "\nand " named[number] - most " more of " word[1] ": --json names all"
        }
    print ""
    print !broken ? "The contract holds. Count after a build: cargo build --release --message-format=json | warm-doctor --after-build -" \
        : broken " found broken: " (barred ? "cargo cannot build as this user here." \
                                           : "the units concerned are compiled as ever, the build works all the same.")
}

function report_json(    number, listed, part) {
    printf "{\n  \"findings\": ["
    for (number = 1; number <= NR; number++)
        printf "%s\n    {\"advice\": %s, \"broken\": %s, \"clause\": %s, \"place\": %s, \"what\": %s}", (listed++ ? "," : ""), \
            json(advice[number]), (kind[number] == "broken" ? "true" : "false"), json(clause[number]), json(place[number]), json(what[number])
    printf "%s],\n  \"layers\": %s,\n", (NR ? "\n  " : ""), json(layers)
    if (split(lock, part, " "))
        printf "  \"lock\": {\"at_another_version\": %d, \"from_git\": %d, \"not_warm\": %d, \"warm\": %d},\n", \
            part[2], part[4], part[3], part[1]
    printf "  \"ok\": %s,\n  \"project\": %s,\n  \"release\": %s,\n  \"schema\": 1\n}\n", \
        (broken ? "false" : "true"), json(project), json(release)
}
'

# Of the lines of warm.list, then those of cargo. Runs of build scripts have no `fresh` in them and are not counted.
# shellcheck disable=SC2016
COUNTER='
FNR == NR {
    split($0, word, " ")
    if (word[1] == "unit") { warm[word[3], word[4]] = 1; versions[word[3]] = word[4] }
    next
}
/^\{"reason":"build-finished"/ { success = /"success":true/ }
!/^\{"reason":"compiler-artifact"/ { next }
!match($0, /"package_id":"(registry|sparse)\+[^"]*"/) { next }
{
    id = substr($0, RSTART + 14, RLENGTH - 15)
    sub(/^.*#/, "", id)
    split(id, part, "@")
    total++
    public = /"package_id":"(registry\+https:\/\/github\.com\/rust-lang\/crates\.io-index|sparse\+https:\/\/index\.crates\.io\/)#/
    if (/"fresh":true/) { fresh++; if (public) print record("") >(work "/hits"); next }
    if (public) print record(!((part[1], part[2]) in warm) && part[1] in versions ? "\"version\"" : "") >(work "/misses")
    missed[++misses] = part[1] " " part[2] (/"kind":\["custom-build"\]/ ? " (build script)" : "")
    reason[misses] = (part[1], part[2]) in warm ? "warm at this version: other features, another cargo profile, or something below it differs" \
        : part[1] in versions ? "warm at another version: " versions[part[1]] : "not in this image"
}
END {
    rate = total ? int(fresh * 100 / total) : 100
    if (success) print fresh + 0, total + 0 >(work "/amounts")
    enough = success && (min_hit == "" || rate >= min_hit + 0)
    if (answer == "json") count_json(); else count_text()
    exit !enough
}

# Whoever reads the report learns nothing of a private registry.
function record(causes,    kind, features) {
    kind = match($0, /"kind":\["[^"]*"/) ? substr($0, RSTART + 9, RLENGTH - 10) : "lib"
    features = match($0, /"features":\[[^]]*\]/) ? substr($0, RSTART + 11, RLENGTH - 11) : "null"
    return "{\"crate\":" json(part[1]) ",\"version\":" json(part[2]) ",\"features\":" features ",\"kind\":" json(kind) \
        ",\"causes\":[" causes "]}"
}

function count_text(    number) {
    print fresh + 0 " of " total + 0 " compiled units of registries were fresh (" rate " %)"
    for (number = 1; number <= misses && number <= most; number++) print "  missed  " missed[number] ": " reason[number]
    if (misses > most) print "  and " misses - most " more: --json names all"
    if (!success) print "The build failed: what came after the failure was not counted."
    else if (!enough) print "Too few: " min_hit " % were asked for. warm-doctor without options names broken clauses."
}

function count_json(    number) {
    printf "{\n  \"build_succeeded\": %s,\n  \"fresh\": %d,\n  \"misses\": [", (success ? "true" : "false"), fresh
    for (number = 1; number <= misses; number++)
        printf "%s\n    {\"reason\": %s, \"unit\": %s}", (number > 1 ? "," : ""), json(reason[number]), json(missed[number])
    printf "%s],\n  \"ok\": %s,\n  \"schema\": 1,\n  \"total\": %d\n}\n", (misses ? "\n  " : ""), (enough ? "true" : "false"), total
}
'

main "$@"
