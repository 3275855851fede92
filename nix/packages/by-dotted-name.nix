# Packages with a dot in their names, in two more spellings: as nixpkgs spells them,
# `.#llama-3_1-8b-engine`, and in nested sets cut at the dots, because nix reads
# `.#llama-3.1-8b-engine` as a path with two steps. In `packages` the name would have to be quoted.
pkgs:
let
  inherit (pkgs) lib;
  dotted = lib.filterAttrs (name: _: lib.hasInfix "." name) (import ./outputs.nix pkgs);
  nested = lib.mapAttrsToList (name: lib.setAttrByPath (lib.splitString "." name)) dotted;
  underscored = lib.concatMapAttrs (name: package: {
    ${lib.replaceStrings [ "." ] [ "_" ] name} = package;
  }) dotted;
in
lib.foldl' lib.recursiveUpdate underscored nested
