#!/bin/sh
# As the runner: adds what the image says about itself.
set -eu
# shellcheck source=settle.sh
. /run/factory/settle.sh

: "${LAYER:?give it as a build argument: the name of the layer}"

begin
mkdir -p "$SHARE/$LAYER"
cp -R /run/factory/contents/. "$SHARE/$LAYER/"
settle "$SHARE"
