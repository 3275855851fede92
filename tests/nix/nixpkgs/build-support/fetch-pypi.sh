# Downloads the wheel called $name with pip, which must find exactly that file.
set -euo pipefail
export HOME=$home

fail() {
  echo "fetchPypi: $1" >&2
  exit 1
}

[[ $dist == "$pythonTag" ]] || fail "$name: dist and python differ, and PyPI has no such address"
tags=(--implementation "${pythonTag:0:2}" --abi "$abiTag")
# "py3" is any Python 3, cp312 is one.
[[ $pythonTag == py3 ]] || tags+=(--python-version "${pythonTag#cp}")
for tag in ${platform//./ }; do tags+=(--platform "$tag"); done
"$interpreter" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --dest found "${tags[@]}" "$pname==$version" >&2 || fail "pip found no $name"
[[ -e found/$name ]] || fail "expected $name, pip found $(ls found)"
mv "found/$name" "$out"
