# `nix run .#<profile>`: everything a profile runs, under one supervisor. The profile's file is the
# one that `enginix up` reads.
{ lib }:
self:
let
  directory = ../../python/enginix/serve/profiles;
  files = lib.filter (lib.hasSuffix ".toml") (lib.attrNames (builtins.readDir directory));

  profile =
    file:
    let
      name = lib.removeSuffix ".toml" file;
      content = lib.importTOML (directory + "/${file}");
    in
    {
      ${name} = self.mkUp {
        inherit name;
        description = content.title;
        arguments = [ name ];
        models = content.model;
      };
    };
in
lib.mergeAttrsList (map profile files)
