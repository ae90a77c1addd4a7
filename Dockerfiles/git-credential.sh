#!/bin/sh
# git's credential helper, called as `git-credential.sh TABLE get`. Each line of TABLE is `ORIGIN USER env VARIABLE` or
# `ORIGIN USER file PATH`. The token is given to its own origin (scheme, host and port), and to nobody else.
set -eu

main() {
    [ "${2:-}" = get ] || exit 0
    protocol=''
    host=''
    while IFS='=' read -r key value && [ -n "$key" ]; do
        case $key in
        protocol) protocol=$value ;;
        host) host=$value ;;
        esac
    done
    while read -r origin user kind place; do
        if [ "$origin" = "$protocol://$host" ]; then
            printf 'username=%s\npassword=%s\n' "$user" "$(token "$kind" "$place")"
            return
        fi
    done <"$1"
}

token() {
    case $1 in
    env) printenv "$2" ;;
    file) head -n 1 "$2" ;;
    esac
}

main "$@"
