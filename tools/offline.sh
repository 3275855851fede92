#!/bin/sh
# Runs a command in a network of its own that has loopback only, where bubblewrap may make one.
# usage: offline.sh WARNING COMMAND [ARG...]     WARNING ends the sentence that it may not
set -eu
warning=$1
shift
if command -v bwrap >/dev/null && bwrap --dev-bind / / --unshare-net true 2>/dev/null; then
  exec bwrap --dev-bind / / --unshare-net --die-with-parent "$@"
fi
echo "bubblewrap is not here or may not make a network: $warning" >&2
exec "$@"
