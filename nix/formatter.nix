# `nix fmt`: Nix and Python, in place.
pkgs:
pkgs.writeShellApplication {
  name = "format";
  runtimeInputs = [
    pkgs.findutils
    pkgs.nixfmt
    pkgs.ruff
  ];
  text = ''
    find flake.nix nix tests/nix -name '*.nix' -exec nixfmt {} +
    ruff format .
    ruff check --fix .
  '';
  meta.description = "Formats the Nix and Python files of this checkout";
}
