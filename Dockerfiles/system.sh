#!/bin/sh
# As root, with the network: installs the Debian packages that the units of this layer need to compile. What the image
# has already stays as it is, nothing of apt's own stays behind, and packages.list tells what came in which version.
set -eu
# shellcheck source=settle.sh
. /run/factory/settle.sh

: "${LAYER:?give it as a build argument: the name of the layer}"
: "${PACKAGES:?give them as a build argument: the names of Debian packages}"

main() {
    begin
    check_apt
    installed >/tmp/before
    missing=$(missing_packages)
    if [ -n "$missing" ]; then
        configure_apt
        # shellcheck disable=SC2086 # several names
        install_packages $missing
        tidy
    fi
    record
    settle_system
}

check_apt() {
    command -v apt-get >/dev/null ||
        fail "the base image has no apt-get to install $PACKAGES with: set \`base.install_packages\` to false, and put
what the crates need into the base image"
}

installed() {
    # The last field is `installed` for nothing but what is.
    dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Status}\n' |
        sed -n 's/ installed$//p' | LC_ALL=C sort -u
}

missing_packages() {
    for package in $PACKAGES; do
        grep -q "^$package " /tmp/before || printf '%s\n' "$package"
    done
}

# This machine's way to its mirror, for this step alone: all of it comes by secrets.
configure_apt() {
    {
        [ ! -s /run/factory/apt.conf ] || cat /run/factory/apt.conf
        [ ! -s /run/factory/ca.crt ] || printf 'Acquire::https::CAInfo "/run/factory/ca.crt";\n'
        [ ! -s /run/factory/apt.sources ] ||
            printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "-";\n' "$(sources_file)"
        printf 'Acquire::Retries "3";\nAcquire::Languages "none";\nAPT::Install-Recommends "false";\n'
        for part in doc info locale man; do
            printf 'Dpkg::Options:: "--path-exclude=/usr/share/%s/*";\n' "$part"
        done
    } >/tmp/apt.conf
    export APT_CONFIG=/tmp/apt.conf DEBIAN_FRONTEND=noninteractive
}

# apt tells the two formats of its sources apart by the file's name.
sources_file() {
    if grep -q '^Types:' /run/factory/apt.sources; then
        name=/tmp/factory.sources
    else
        name=/tmp/factory.list
    fi
    cp /run/factory/apt.sources "$name"
    printf '%s\n' "$name"
}

install_packages() {
    printf 'installing %s\n' "$*" >&2
    apt-get -q update >&2 || fail "the base image's package lists cannot be read: see \`base.apt_sources\`"
    apt-get -q -y install "$@" >&2 ||
        fail "cannot install $*
the base image is $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release), and the plan names the packages of ${SUITE:-its suite}:
let \`base.suite\` say the image's, or change \`packages\` in the layer's profile"
}

# What differs from build to build, or is of use to apt alone. Its lists and downloads are in directories of this step.
tidy() {
    rm -f /var/log/alternatives.log /var/log/dpkg.log /var/log/fontconfig.log \
        /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- \
        /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old /var/cache/debconf/*-old
    rm -rf /var/log/apt /var/cache/fontconfig
    # What Python compiles when it is installed, and again when it is used.
    find /usr/lib -type d -name __pycache__ -cnewer "$stamp" -prune -exec rm -rf {} +
}

record() {
    installed >/tmp/after
    mkdir -p "$SHARE/$LAYER"
    LC_ALL=C comm -13 /tmp/before /tmp/after >"$SHARE/$LAYER/packages.list"
    chown "$RUNNER_UID:$RUNNER_GID" "$SHARE/$LAYER" "$SHARE/$LAYER/packages.list"
    chmod u+rwx,g+rwxs,o-w "$SHARE/$LAYER"
    chmod u=rw,g=rw,o=r "$SHARE/$LAYER/packages.list"
}

main
