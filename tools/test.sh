#!/usr/bin/env bash
# Everything CI runs: format, lint, types, then every test against the real programs.
# Installs what the tests need and the machine lacks: the CPU runtime, LiteLLM's client, the lowest
# allowed release of each dependency and, on Debian or Ubuntu, nix, Prometheus and (as root, or with
# passwordless sudo) bubblewrap, Open MPI, iproute2 and Chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
export PATH=$PWD/$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# Another Python than the default has its own runtime.
[[ $venv == .venv ]] || export ENGINIX_HOME=${ENGINIX_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/enginix}/${venv#.venv-}

ruff format --check .
ruff check .
mypy
# Triton loads each model's modules by their bare names, so check each model separately.
for model in triton-repo/*/*/1; do mypy "$model"/*.py; done

as_root() {
  if [[ $EUID == 0 ]]; then "$@"; else sudo --non-interactive "$@"; fi
}
install() { # PROGRAM PACKAGE
  command -v "$1" >/dev/null || { as_root apt-get -qq update && as_root apt-get -qq --yes install "$2"; } >/dev/null 2>&1 ||
    echo "$2 could not be installed: the tests that need $1 are skipped" >&2
}

enginix setup triton-cpu
install bwrap bubblewrap
install mpirun openmpi-bin
install ip iproute2
install chromium chromium
if ! command -v nix >/dev/null && [[ ! -x .nix/bin/nix ]]; then
  tools/install-nix.sh .nix || echo "nix could not be installed: the tests that need it are skipped" >&2
fi
[[ ! -x .nix/bin/nix ]] || export PATH=$PWD/.nix/bin:$PATH
# Debian's package would start a service: its programs are enough.
if ! command -v promtool >/dev/null; then
  [[ -x .prometheus/usr/bin/promtool ]] ||
    (mkdir -p .prometheus && cd .prometheus && apt-get -qq download prometheus && dpkg-deb -x ./*.deb . && rm ./*.deb) >/dev/null 2>&1 ||
    echo "prometheus could not be fetched: the tests that need it are skipped" >&2
  export PATH=$PWD/.prometheus/usr/bin:$PATH
fi

# LiteLLM pins an old openai package: its client has a separate environment.
export ENGINIX_LITELLM_PYTHON=$PWD/.venv-litellm/bin/python
if ! "$ENGINIX_LITELLM_PYTHON" -c 'import litellm, mcp' 2>/dev/null; then
  rm -rf .venv-litellm
  { python -m venv .venv-litellm && .venv-litellm/bin/pip install --quiet litellm mcp; } ||
    echo "LiteLLM could not be installed: the tests of its client are skipped" >&2
fi

if [[ $venv != .venv ]] || (($#)); then
  exec pytest -c tests/pytest.ini tests "$@"
fi

# The gateway's tests (also with the lowest allowed releases), Nix's and the demo under other Pythons
# run beside the rest, which uses one core.
others=$(mktemp)
beside=
trap 'kill $beside 2>/dev/null || true; rm -f "$others"' EXIT
{
  tools/test-pythons.sh && tools/test-lowest.sh --quiet tests/backends tests/gateway &&
    pytest -c tests/pytest.ini --quiet tests/nix tests/gateway
} >"$others" 2>&1 &
beside=$!
own=0
pytest -c tests/pytest.ini tests --ignore=tests/nix --ignore=tests/gateway || own=$?
wait "$beside" || { cat "$others"; exit 1; }
# After a failure its summary stays the last that is seen.
((own)) || cat "$others"
exit "$own"
