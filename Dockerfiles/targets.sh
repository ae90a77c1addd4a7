#!/bin/sh
# Root layer, as root, with the network: the standard library of every target that units are compiled for. Rustup
# downloads it; what a distribution packages has to be in the base image.
set -eu
# shellcheck source=settle.sh
. /run/factory/settle.sh

: "${TARGETS:?give it as a build argument: target triples, separated by blanks}"

main() {
    begin
    trust_certificates
    for target in $TARGETS; do
        has_standard_library "$target" || add "$target"
    done
    settle_system
}

has_standard_library() {
    folder=$(rustc --print target-libdir --target "$1") || fail "$(rustc --version) has no target $1"
    [ -n "$(find "$folder" -name 'libcore-*.rlib' 2>/dev/null)" ]
}

add() {
    command -v rustup >/dev/null || fail "the base image lacks the standard library of $1, and has no rustup to add it
Debian has some as packages (libstd-rust-dev-wasm32 for wasm32): \`factory base --target $1\` installs them"
    rustup target add "$1"
    has_standard_library "$1" || fail "rustup added $1 to another toolchain than the one that is used"
}

trust_certificates() {
    if [ -s /run/factory/ca.crt ]; then
        export SSL_CERT_FILE=/run/factory/ca.crt CURL_CA_BUNDLE=/run/factory/ca.crt
    fi
}

main
