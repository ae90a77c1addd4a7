#!/bin/sh
# As the runner, with the network: downloads what the recipes' locks name. Nothing is compiled or run.
set -eu
# shellcheck source=settle.sh
. /run/factory/settle.sh

RECIPES=/run/factory/recipes
SCRATCH=/tmp/factory/recipe

main() {
    begin
    trust_certificates
    while IFS= read -r recipe || [ -n "$recipe" ]; do
        fetch "$recipe" || fail "recipe $recipe: its sources could not be fetched"
    done <"$RECIPES/recipes.list"
    # The next step unpacks the sources again: in the image they would be dead weight.
    rm -rf "$CARGO_HOME/registry/src" "$CARGO_HOME/.global-cache"
    settle "$CARGO_HOME"
}

trust_certificates() {
    if [ -s /run/factory/ca.crt ]; then
        export CARGO_HTTP_CAINFO=/run/factory/ca.crt SSL_CERT_FILE=/run/factory/ca.crt GIT_SSL_CAINFO=/run/factory/ca.crt
    fi
}

fetch() {
    rm -rf "$SCRATCH"
    mkdir -p "${SCRATCH%/*}"
    cp -R "$RECIPES/$1" "$SCRATCH"
    cd "$SCRATCH"
    choose_rustflags
    printf 'fetching for %s\n' "$1" >&2
    cargo fetch --locked --target "$(target)" </dev/null
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
