# shellcheck shell=sh
# What the scripts that make a virtual environment share; they read it with `.`.

fail() {
  printf 'enginix: %s\n' "$1" >&2
  exit 1
}

# usage: require_python PYTHON MINOR WHAT     fails unless PYTHON is 3.11 to 3.MINOR, which run WHAT
require_python() {
  command -v "$1" >/dev/null || fail "$1 was not found; name one: make PYTHON=/path/to/python3"
  "$1" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $2))" ||
    fail "$("$1" --version) does not run $3; name one: make PYTHON=python3.12"
}

make_environment() {
  rm -rf "$2"
  "$1" -m venv "$2" ||
    fail "$1 cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
}

# usage: install_requirements VENV REQUIREMENTS LOG WHAT
install_requirements() {
  "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2" >"$3" 2>&1 ||
    fail "pip could not install $4 (the whole log: $3): $(grep -i error "$3" | tail -n 1)"
}
