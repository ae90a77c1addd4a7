#!/bin/sh
# Sourced by warm-entry, by bash (BASH_ENV) and by login shells: what one user of the group writes, the next one can
# replace. A umask that somebody chose, such as 077, stays.
[ "$(umask)" != 0022 ] || umask 002
