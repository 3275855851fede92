# The flake's `packages`: whatever in the scope is a derivation.
pkgs:
let
  inherit (pkgs) lib;
  # A scope also holds builders and callPackage, and `nix flake check` refuses functions here.
  packages = lib.filterAttrs (_: lib.isDerivation) pkgs.enginixPackages;
in
# nixpkgs' own interpreters are in the scope only so that each is chosen once.
lib.removeAttrs packages [
  "python"
  "runtime-python"
]
// {
  default = packages.enginix;
}
