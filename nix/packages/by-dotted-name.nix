# The same packages in nested sets, cut at the dots: nix reads `.#llama-3.1-8b-engine` as a path
# with two steps, and finds it here. In `packages` the name would have to be quoted.
pkgs:
let
  inherit (pkgs) lib;
  dotted = lib.filterAttrs (name: _: lib.hasInfix "." name) (import ./outputs.nix pkgs);
  nested = lib.mapAttrsToList (name: lib.setAttrByPath (lib.splitString "." name)) dotted;
in
lib.foldl' lib.recursiveUpdate { } nested
