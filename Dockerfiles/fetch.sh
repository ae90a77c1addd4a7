#!/bin/sh
# As the runner, with the network: downloads what the recipes' locks name. Nothing is compiled or run.
# Secrets, each of them optional: fetch.toml (registries, a mirror), tokens (`NAME TOKEN` a line), git-credentials
# (see git-credential.sh), proxies (`NAME=VALUE` a line), ca.crt. All of them are gone when the step ends.
set -eu
# shellcheck source=settle.sh
. /run/factory/settle.sh

RECIPES=/run/factory/recipes
SCRATCH=/tmp/factory/recipe
SETTINGS=/run/factory/fetch.toml
SAID=/tmp/factory/said
# In memory, like all of /tmp in this step.
TOKENS=/tmp/factory/tokens
# What cargo (since 1.85) calls the folders of crates.io.
CRATES_IO=index.crates.io-1949cf8c6b5b557f
# As in factory/cargo/ask_index.py, which says why.
NOBODYS=_nobody_can_publish_a_crate_whose_name_begins_so_and_is_longer_than_64

main() {
    begin
    trust_certificates
    use_proxies
    unpack_tokens
    use_git_credentials
    stand_in_for_crates_io
    while IFS= read -r recipe || [ -n "$recipe" ]; do
        fetch "$recipe" || fail "recipe $recipe: its sources could not be fetched"
    done <"$RECIPES/recipes.list"
    ask_index
    forget_mirror
    # Git's own notes of when it looked at which file; nothing reads them.
    if [ -d "$CARGO_HOME/git/checkouts" ]; then
        find "$CARGO_HOME/git/checkouts" -type f \( -path '*/.git/index' -o -path '*/.git/logs/*' \) -delete
    fi
    # The next step unpacks the sources again: in the image they would be dead weight.
    sh /run/factory/prune.sh "$stamp" "$RECIPES/locked.list" "$CARGO_HOME" "$BUILD_DIR"
    settle "$CARGO_HOME"
}

trust_certificates() {
    if [ -s /run/factory/ca.crt ]; then
        export CARGO_HTTP_CAINFO=/run/factory/ca.crt SSL_CERT_FILE=/run/factory/ca.crt GIT_SSL_CAINFO=/run/factory/ca.crt
    fi
}

use_proxies() {
    [ -s /run/factory/proxies ] || return 0
    while IFS='=' read -r name value; do
        export "$name=$value"
    done </run/factory/proxies
}

unpack_tokens() {
    [ -s /run/factory/tokens ] || return 0
    mkdir -p "$TOKENS"
    while read -r name token; do
        printf '%s\n' "$token" >"$TOKENS/$name"
    done </run/factory/tokens
}

use_git_credentials() {
    [ -s /run/factory/git-credentials ] || return 0
    # Cargo's own git forgets about credentials as soon as certificates or a proxy are named.
    command -v git >/dev/null || fail "a token for git needs git in the base image: install it, or see \`git\` in the configuration"
    export CARGO_NET_GIT_FETCH_WITH_CLI=true GIT_TERMINAL_PROMPT=0
    # Beside the user's own configuration, which stays as the base image has it.
    export XDG_CONFIG_HOME=/tmp/factory/config
    mkdir -p "$XDG_CONFIG_HOME/git"
    printf '[credential]\n\thelper = "!sh /run/factory/git-credential.sh /run/factory/git-credentials"\n' \
        >"$XDG_CONFIG_HOME/git/config"
}

# Where the settings name a mirror, what it delivers has to lie in the place of crates.io: the path of its sources is
# part of every unit, and the consumers may not know the mirror.
stand_in_for_crates_io() {
    mirror=
    { [ -s "$SETTINGS" ] && grep -q '^replace-with' "$SETTINGS"; } || return 0
    probe
    mirror=$(ls /tmp/factory/probe-home/registry/index 2>/dev/null) || fail "the mirror of crates.io does not answer"
    for kind in index cache src; do
        mkdir -p "$CARGO_HOME/registry/$kind/$CRATES_IO"
        ln -sfn "$CRATES_IO" "$CARGO_HOME/registry/$kind/$mirror"
    done
}

# Cargo makes the mirror's folders, which shows their names, before it finds that there is no such crate.
probe() {
    mkdir -p /tmp/factory/probe
    cd /tmp/factory/probe
    : >lib.rs
    {
        printf '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n'
        printf '[dependencies]\n%s = "1"\n' "$NOBODYS"
    } >Cargo.toml
    CARGO_HOME=/tmp/factory/probe-home cargo fetch --quiet --config "$SETTINGS" </dev/null 2>/dev/null || :
}

forget_mirror() {
    [ -n "$mirror" ] || return 0
    rm -f "$CARGO_HOME/registry/index/$mirror" "$CARGO_HOME/registry/cache/$mirror"
}

fetch() {
    rm -rf "$SCRATCH"
    mkdir -p "${SCRATCH%/*}"
    cp -R "$RECIPES/$1" "$SCRATCH"
    cd "$SCRATCH"
    choose_rustflags
    printf 'fetching for %s\n' "$1" >&2
    set -- --locked --target "$(target)"
    [ ! -s "$SETTINGS" ] || set -- "$@" --config "$SETTINGS"
    cargo fetch "$@" </dev/null
}

# `questions` has for each registry a package that names what repositories lock and no recipe does. Cargo asks about all
# of it, and ends with an error by design, as one of the names is nobody's: factory/cargo/ask_index.py.
ask_index() {
    for question in "$RECIPES"/questions/*/; do
        [ ! -d "$question" ] || ask "$question"
    done
}

ask() {
    rm -rf "$SCRATCH"
    cp -R "$1" "$SCRATCH"
    cd "$SCRATCH"
    printf 'asking the index about %s crates\n' "$(wc -l <index.paths)" >&2
    set -- generate-lockfile
    [ ! -s "$SETTINGS" ] || set -- "$@" --config "$SETTINGS"
    if cargo "$@" </dev/null 2>"$SAID" || ! grep -q '^error: no matching package' "$SAID"; then
        cat "$SAID" >&2
        fail "the registry's index does not answer"
    fi
    while IFS= read -r path; do
        ls "$CARGO_HOME"/registry/index/*/.cache/"$path" >/dev/null 2>&1 ||
            printf 'note: %s: locked, and the registry does not know it\n' "${path##*/}" >&2
    done <index.paths
}

# The target that cook.args names, else the host.
target() {
    named=$(sed -n -e '/^--target$/{n;p;}' -e 's/^--target=//p' cook.args)
    if [ -n "$named" ]; then
        printf '%s\n' "$named"
    else
        rustc -vV | sed -n 's/^host: //p'
    fi
}

main
