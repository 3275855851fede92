# `nix run .#<profile>`: everything a profile runs, under one supervisor. The profile's file is the
# one that `enginix up` reads; what it needs from the store is handed over in the environment.
{ lib }:
self:
let
  directory = ../../python/enginix/serve/profiles;
  files = lib.filter (lib.hasSuffix ".toml") (lib.attrNames (builtins.readDir directory));

  # `enginix up` can be told of one engine: profiles with several models have them in other servers.
  served =
    entry:
    let
      engine = self."${entry.source or entry.name}-engine";
    in
    {
      ENGINIX_ENGINE = "${engine}";
      ${self.kinds.${engine.model.kind}.variable} = "${engine.runtime}";
    };
  environments = {
    triton = served;
    llamacpp = served;
    trtllm = _: { ENGINIX_RUNTIME_TRTLLM = "${self.tensorrt-llm-runtime}"; };
    # vLLM is the machine's own: it has to fit the machine's CUDA.
    vllm = _: { };
  };

  profile =
    file:
    let
      name = lib.removeSuffix ".toml" file;
      content = lib.importTOML (directory + "/${file}");
    in
    {
      ${name} = self.mkServer {
        inherit name;
        description = content.title;
        arguments = [
          "up"
          name
        ];
        environment = lib.mergeAttrsList (
          map (entry: environments.${entry.engine or "triton"} entry) content.model
        );
      };
    };
in
lib.mergeAttrsList (map profile files)
