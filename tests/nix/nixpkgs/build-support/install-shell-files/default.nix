# installShellFiles: of the real hook's functions, installShellCompletion with the flags that are
# used here; any other is refused, and so is a script that turned out empty.
{ self }:
self.runCommand "install-shell-files" { } ''
  mkdir -p $out/nix-support
  cp ${./setup-hook.sh} $out/nix-support/setup-hook
''
