#!/bin/sh
# Runs the real agents against the scripted model, in a network of their own that has loopback only.
# usage: test.sh DIRECTORY [PYTEST'S ARGUMENTS]
set -eu
cd "$(dirname "$0")/../.."
ENGINIX_AGENTS=$(cd "$1" && pwd)
export ENGINIX_AGENTS
shift

.venv/bin/enginix setup triton-cpu
exec tools/offline.sh "only their settings keep the agents to loopback" \
  .venv/bin/pytest -q -s -c tests/pytest.ini tests/agents/test_real_agents.py "$@"
