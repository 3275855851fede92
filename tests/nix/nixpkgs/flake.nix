# A strict stand-in for nixpkgs: what this flake uses of it and nothing else, on top of the host's
# programs, so that the flake can be evaluated, built and run without a network or a real nixpkgs.
# `python tests/nix/stand_in.py DIR` makes a copy that knows the host; then
#   nix build .#demo-engine --override-input nixpkgs path:DIR
{
  description = "Stand-in for nixpkgs (tests only)";

  outputs =
    { self }:
    let
      lib = import ./lib;
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system: import ./. { inherit system; }
      );
    };
}
