#!/bin/sh
# Runs Open WebUI in a browser against the demo, in a network of their own that has loopback only.
# usage: test.sh VENV [PYTEST'S ARGUMENTS]
set -eu
cd "$(dirname "$0")/../.."
ENGINIX_OPEN_WEBUI=$(cd "$1" && pwd)
export ENGINIX_OPEN_WEBUI
shift

.venv/bin/enginix setup triton-cpu
exec tools/offline.sh "only its settings keep Open WebUI to loopback" \
  .venv/bin/pytest -q -s -c tests/pytest.ini tests/open_webui "$@"
