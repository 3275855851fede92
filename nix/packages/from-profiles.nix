# `nix run .#<profile>`: everything a profile runs, under one supervisor. The profile's file is the
# one that `enginix up` reads; what it needs from the store is handed over in the environment.
{ lib }:
self:
let
  directory = ../../python/enginix/serve/profiles;
  files = lib.filter (lib.hasSuffix ".toml") (lib.attrNames (builtins.readDir directory));

  # What `enginix up` serves from an engine, which Nix builds.
  withEngine = [
    "triton"
    "llamacpp"
  ];
  engineOf = name: self."${name}-engine";
  source = entry: entry.source or entry.name;
  kind = entry: entry.engine or "triton";

  runtimeOf =
    entry:
    let
      engine = engineOf (source entry);
    in
    { ${self.kinds.${engine.model.kind}.variable} = "${engine.runtime}"; };
  runtimes = {
    triton = runtimeOf;
    llamacpp = runtimeOf;
    trtllm = _: { ${self.kinds.tensorrt-llm.variable} = "${self.tensorrt-llm-runtime}"; };
  };
  # Other servers, such as vLLM, are the machine's own: they have to fit the machine's CUDA.
  variablesOf = entry: (runtimes.${kind entry} or (_: { })) entry;

  enginesOf =
    models:
    let
      served = lib.filter (entry: lib.elem (kind entry) withEngine) models;
    in
    lib.attrValues (lib.genAttrs (map source served) engineOf);

  profile =
    file:
    let
      name = lib.removeSuffix ".toml" file;
      content = lib.importTOML (directory + "/${file}");
      engines = enginesOf content.model;
      isTrtllm = entry: kind entry == "trtllm";
    in
    {
      ${name} = self.mkServer {
        inherit name;
        description = content.title;
        arguments = [
          "up"
          name
        ];
        environment =
          lib.mergeAttrsList (map variablesOf content.model)
          # Of several it tells them apart by the names in their manifests.
          // lib.optionalAttrs (engines != [ ]) {
            ENGINIX_ENGINE = lib.concatStringsSep ":" (map toString engines);
          };
        uses = engines ++ lib.optional (lib.any isTrtllm content.model) self.tensorrt-llm-runtime;
      };
    };
in
lib.mergeAttrsList (map profile files)
