#!/bin/sh
# Compiles a tool from its crate with the crate's own lock: `fetch` as root with the network, `compile` without. The
# registry's checksum pins the crate, its lock all that it stands on.
set -eu
# shellcheck source=settle.sh
. /run/factory/settle.sh

: "${TOOL:?give it as a build argument: the name of a crate}"
: "${VERSION:?give it as a build argument: an exact version}"
CARGO_HOME=${CARGO_HOME:-/usr/local/cargo}
# Laid out as it will be in the image.
TREE=/opt/factory-tool
OUT=$TREE/usr/local

fetch() {
    trust_certificates
    use_proxies
    mkdir -p /tmp/factory
    # cargo has no command that only downloads what an installation needs. Its first call of the compiler is the sign
    # that all of it is there, and this one does not compile.
    cat >/tmp/factory/rustc-that-stops <<'END'
#!/bin/sh
for argument; do
    case $argument in
    -vV | --print*) exec "$@" ;;
    esac
done
: >/tmp/factory/fetched
exit 1
END
    chmod +x /tmp/factory/rustc-that-stops
    RUSTC_WRAPPER=/tmp/factory/rustc-that-stops install_tool >/tmp/factory/log 2>&1 || true
    if [ ! -e /tmp/factory/fetched ]; then
        cat /tmp/factory/log >&2
        fail "$TOOL $VERSION cannot be fetched"
    fi
    # The next step is another user. Nothing of all this but the program gets into an image.
    rm -rf "$TREE"
    install -d -m 0755 -o 65534 -g 65534 "$TREE" "$TREE/usr" "$OUT"
    find "$CARGO_HOME" -path "$CARGO_HOME/bin" -prune -o ! -type l -exec chmod a+rwX {} +
}

compile() {
    export HOME=/tmp
    install_tool --offline || fail "$TOOL $VERSION cannot be compiled in this base image"
    rm -f "$OUT"/.crates.toml "$OUT"/.crates2.json
    chmod -R u=rwX,go=rX "$TREE"
    find "$TREE" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

install_tool() {
    set -- "$@" --locked --root "$OUT" --target-dir /tmp/factory/target --version "=$VERSION"
    [ "${FEATURES:-default}" = default ] || set -- "$@" --no-default-features --features "$FEATURES"
    # Warnings of other people's code help nobody here.
    cargo install "$TOOL" --quiet "$@"
}

trust_certificates() {
    if [ -s /run/factory/ca.crt ]; then
        export CARGO_HTTP_CAINFO=/run/factory/ca.crt SSL_CERT_FILE=/run/factory/ca.crt
    fi
}

use_proxies() {
    [ -s /run/factory/proxies ] || return 0
    while IFS='=' read -r name value; do
        export "$name=$value"
    done </run/factory/proxies
}

case ${1:-} in
fetch | compile) "$1" ;;
*) fail "tool.sh fetch, or tool.sh compile" ;;
esac
