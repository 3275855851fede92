#!/bin/sh
# Runs Open WebUI in a browser against the demo, in a network of their own that has loopback only.
# usage: test.sh VENV [PYTEST'S ARGUMENTS]
set -eu
cd "$(dirname "$0")/../.."
ENGINIX_OPEN_WEBUI=$(cd "$1" && pwd)
export ENGINIX_OPEN_WEBUI
shift

.venv/bin/enginix setup triton-cpu
set -- .venv/bin/pytest -q -s -c tests/pytest.ini tests/open_webui "$@"
if command -v bwrap >/dev/null && bwrap --dev-bind / / --unshare-net true 2>/dev/null; then
  exec bwrap --dev-bind / / --unshare-net --die-with-parent "$@"
fi
echo "bubblewrap is not here or may not make a network: only its settings keep Open WebUI to loopback" >&2
exec "$@"
