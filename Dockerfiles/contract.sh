#!/bin/sh
# Root layer, as root: the user, the directories and cargo's configuration that all layers rely on.
set -eu
# shellcheck source=settle.sh
. /run/factory/settle.sh

main() {
    begin
    check_cargo
    check_rustc
    create_user
    create_directories
    configure_cargo
    install_programs
    settle_system
}

check_cargo() {
    version=$(cargo --version) || fail "the base image has no working cargo on its PATH ($PATH)"
    minor=$(printf '%s\n' "$version" | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
    case $LAYOUT in
    build-dir) [ "${minor:-0}" -ge 91 ] || fail "$version: 1.91 is the first that has build.build-dir" ;;
    # A target directory that everybody shares, where there is nothing better.
    target-dir) [ "${minor:-91}" -lt 91 ] || fail "$version has build.build-dir, and the plan was made for an older one" ;;
    *) fail "LAYOUT=$LAYOUT: not build-dir or target-dir" ;;
    esac
}

# Units of another compiler, even of the same version from another vendor, are fresh for nobody.
check_rustc() {
    : "${RUSTC_VERBOSE:?give it as a build argument: what the rustc of the plan says to -vV}"
    actual=$(rustc -vV) || fail "the base image has no working rustc on its PATH ($PATH)"
    [ "$actual" = "$RUSTC_VERBOSE" ] ||
        fail "the base image has another rustc than the plan was made for
the base image: $(one_line "$actual")
the plan: $(one_line "$RUSTC_VERBOSE")"
}

one_line() {
    printf '%s\n' "$1" | tr '\n' ' '
}

create_user() {
    check_free passwd "$RUNNER_UID"
    # Group 0 is there already: the choice for clusters that run every container as some uid of that group.
    [ "$RUNNER_GID" -eq 0 ] || create_group
    if ! getent passwd "$RUNNER_NAME" >/dev/null; then
        # No lastlog entry: it is a sparse file of 300 bytes for each uid up to this one. And no group: it is there.
        set -- --uid "$RUNNER_UID" --gid "$RUNNER_GID" --no-user-group --create-home --no-log-init --shell /bin/sh
        useradd "$@" "$RUNNER_NAME"
    fi
    [ "$(id -u "$RUNNER_NAME"):$(id -g "$RUNNER_NAME")" = "$RUNNER_UID:$RUNNER_GID" ] ||
        fail "the base image has a user $RUNNER_NAME already, with other ids than $RUNNER_UID:$RUNNER_GID"
    # Whoever of the group is given this home can use it.
    chmod 2775 "$(getent passwd "$RUNNER_NAME" | cut -d: -f6)"
    # useradd and groupadd keep the files from before, which differ from build to build in nothing but time.
    rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
}

create_group() {
    check_free group "$RUNNER_GID"
    if ! getent group "$RUNNER_NAME" >/dev/null; then
        groupadd --gid "$RUNNER_GID" "$RUNNER_NAME"
    fi
}

# check_free passwd|group ID: an id that has another name in the base image would own our files.
check_free() {
    name=$(getent "$1" "$2" | cut -d: -f1)
    case $name in
    '' | "$RUNNER_NAME") ;;
    *) fail "$2 is $name in the base image's /etc/$1: choose another id for $RUNNER_NAME" ;;
    esac
}

create_directories() {
    for directory in "$CARGO_HOME" "$CARGO_HOME/bin" "$CARGO_HOME/registry" "$BUILD_DIR" "$SHARE"; do
        [ ! -L "$directory" ] || fail "$directory is a symbolic link: cargo would find nothing fresh behind it"
        mkdir -p "$directory"
    done
    # The programs in bin and rustup's env files stay as the base image has them: nobody writes them, and to change
    # their owner would copy them into this layer.
    set -- "$CARGO_HOME" \( -path "$CARGO_HOME/bin/*" -o -path "$CARGO_HOME/env*" \) -prune -o
    find "$@" -exec chown -h "$RUNNER_UID:$RUNNER_GID" {} +
    find "$@" ! -type l -exec chmod u+rwX,g+rwX,o-w {} +
    chown "$RUNNER_UID:$RUNNER_GID" "$BUILD_DIR" "$SHARE"
    chmod u+rwx,g+rwxs,o-w "$BUILD_DIR" "$SHARE"
    find "$CARGO_HOME" -type d -exec chmod g+s {} +
    # Where builds begin.
    install -d -m 2775 -o "$RUNNER_UID" -g "$RUNNER_GID" "/home/$RUNNER_NAME/src"
}

# A base image may bring a configuration of its own, such as a mirror of the registry: ours is added to it.
configure_cargo() {
    file=$CARGO_HOME/config.toml
    [ ! -e "$CARGO_HOME/config" ] || fail "$CARGO_HOME/config: cargo would read this old name instead of config.toml"
    if [ -e "$file" ] && grep -Eq '^[[:space:]]*\[?[[:space:]]*"?(build|cache)"?[[:space:]]*[].=]' "$file"; then
        fail "$file in the base image sets build.* or cache.* itself: take these keys out"
    fi
    flags=$(rustflags)
    {
        printf '\n[build]\n%s = "%s"\n%s' "$LAYOUT" "$BUILD_DIR" "${flags:+$flags
}"
        printf '\n[cache]\nauto-clean-frequency = "never"\n'
    } >>"$file"
    chown "$RUNNER_UID:$RUNNER_GID" "$file"
    chmod u=rw,g=rw,o=r "$file"
}

install_programs() {
    install -m 0755 /run/factory/warm-doctor.sh /usr/local/bin/warm-doctor
    install -m 0755 /run/factory/warm-entry.sh /usr/local/bin/warm-entry
    # Root's, not the group's: root's shells read it too.
    install -m 0644 /run/factory/warm-umask.sh /usr/local/lib/warm-umask.sh
    mkdir -p /etc/profile.d
    ln -s /usr/local/lib/warm-umask.sh /etc/profile.d/warm-umask.sh
}

rustflags() {
    case ${RUSTFLAGS_TOML:-[]} in
    '[]') ;;
    '['*']') printf 'rustflags = %s\n' "$RUSTFLAGS_TOML" ;;
    *) fail "RUSTFLAGS_TOML=$RUSTFLAGS_TOML: not a TOML array" ;;
    esac
}

main
