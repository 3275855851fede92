# `nix develop`: the command itself, and Python with what the tests need, running this checkout.
pkgs:
let
  inherit (pkgs.enginixPackages) enginix python;
  inherit (enginix) dependencies;
in
{
  default = pkgs.mkShellNoCC {
    packages = [
      enginix
      (python.withPackages (
        available:
        dependencies
        ++ (with available; [
          anthropic
          hypothesis
          mypy
          openai
          psutil
          pytest
          pytest-asyncio
          pytest-timeout
          types-protobuf
        ])
      ))
      pkgs.deadnix
      pkgs.nixfmt
      pkgs.ruff
      pkgs.shellcheck
    ];
    meta.description = "Everything to work on enginix";
  };
}
