# The flake's `packages`: whatever in the scope is a derivation.
pkgs:
let
  inherit (pkgs) lib;
  # A scope also holds builders and callPackage, and `nix flake check` refuses functions here.
  packages = lib.filterAttrs (_: lib.isDerivation) pkgs.enginixPackages;
in
# nixpkgs' own interpreter is in the scope only so that it is chosen once.
lib.removeAttrs packages [ "python" ] // { default = packages.enginix; }
