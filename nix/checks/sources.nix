# Nix files are formatted and hold nothing unused; shell scripts pass shellcheck.
{
  lib,
  runCommand,
  deadnix,
  findutils,
  nixfmt,
  shellcheck,
}:
runCommand "enginix-sources"
  {
    src = lib.fileset.toSource {
      root = ../..;
      fileset = lib.fileset.unions [
        ../../.ci
        ../../flake.nix
        ../../nix
        ../../tests/nix
        ../../tools
      ];
    };
    nativeBuildInputs = [
      deadnix
      findutils
      nixfmt
      shellcheck
    ];
  }
  ''
    cd "$src"
    find . -name '*.nix' -exec nixfmt --check {} +
    find . -name '*.nix' -exec deadnix --fail {} +
    find .ci tools \( -name '*.sh' -o -path .ci/run \) -exec shellcheck {} +
    touch "$out"
  ''
