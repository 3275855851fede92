#!/usr/bin/env bash
# Everything CI runs: format, lint, types, then every test against the real programs.
# Installs what the tests need and the machine lacks: the CPU runtime and, on Debian or Ubuntu, nix
# and (as root) bubblewrap.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1

ruff format --check .
ruff check .
mypy
# Triton loads each model's modules by their bare names, so each is a program of its own.
for model in triton-repo/gguf/*/1; do mypy "$model"/*.py; done

install() { # PROGRAM PACKAGE
  command -v "$1" >/dev/null || { apt-get -qq update && apt-get -qq --yes install "$2"; } >/dev/null 2>&1 ||
    echo "$2 could not be installed: the tests that need $1 are skipped" >&2
}

enginix setup triton-cpu
install bwrap bubblewrap
if ! command -v nix >/dev/null && [[ ! -x .nix/bin/nix ]]; then
  tools/install-nix.sh .nix || echo "nix could not be installed: the tests that need it are skipped" >&2
fi
[[ ! -x .nix/bin/nix ]] || export PATH=$PWD/.nix/bin:$PATH

exec pytest -c tests/pytest.ini tests "$@"
