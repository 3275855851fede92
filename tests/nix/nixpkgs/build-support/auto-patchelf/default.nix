# autoPatchelfHook: nothing is patched, since host libraries are found anyway, but whatever the real
# hook would refuse is refused: a library that neither the package nor an input provides.
{ self, host }:
self.runCommand "auto-patchelf-hook" { inherit (host) interpreter; } ''
  mkdir -p $out/nix-support
  substitute() { sed "s|@interpreter@|$interpreter|; s|@program@|${./check_libraries.py}|" "$1"; }
  substitute ${./setup-hook.sh} >$out/nix-support/setup-hook
''
