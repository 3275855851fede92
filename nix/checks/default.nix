# `nix flake check`: every package that builds on any machine, the development shells, the module,
# and the sources themselves.
pkgs:
let
  inherit (pkgs) lib;
  inherit (pkgs.enginixPackages) callPackage;
  prefixed = prefix: lib.mapAttrs' (name: lib.nameValuePair "${prefix}-${name}");
  # The others need a download from the hub, NVIDIA's image or a GPU: they are only evaluated.
  packages = lib.filterAttrs (_: package: package.buildsAnywhere or true) (
    import ../packages/outputs.nix pkgs
  );
in
prefixed "package" packages
// prefixed "shell" (import ../dev-shells.nix pkgs)
// {
  module = callPackage ./module.nix {
    scopes.${pkgs.stdenv.hostPlatform.system} = pkgs.enginixPackages;
  };
  # What docs/nixos-options.md must be.
  nixos-options = callPackage ../modules/options-doc.nix { };
  sources = callPackage ./sources.nix { };
}
