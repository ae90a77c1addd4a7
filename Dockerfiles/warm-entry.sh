#!/bin/sh
# warm-entry PROGRAM [ARGUMENT...]: the image's entry point, and the shell of RUN steps that build on it. What is
# written stays open to the group, whoever runs has a home, and PROGRAM takes this one's place.
set -u
# shellcheck source=warm-umask.sh
. /usr/local/lib/warm-umask.sh

# A user whom /etc/passwd does not know has `/` for a home, or one that somebody else's machine has.
if ! [ -d "${HOME:-}" ] || ! [ -w "$HOME" ]; then
    home=/tmp/home-$(id -u)
    # Only if it is ours: anybody can make a directory of that name, or a link.
    if mkdir -m 0700 "$home" 2>/dev/null || [ -n "$(find "$home" -prune -type d -user "$(id -u)" 2>/dev/null)" ]; then
        export HOME="$home"
    fi
fi

exec "$@"
