# What each file of the catalogue stands for: a checkpoint, and for every variant an engine, a
# server and its container image, a gateway and Kubernetes objects. The same files tell Python; a
# model is added there and nowhere else.
{ lib }:
self:
let
  catalog = ../../python/enginix/catalog;
  files = lib.filter (lib.hasSuffix ".toml") (lib.attrNames (builtins.readDir catalog));
  readModel =
    file:
    let
      name = lib.removeSuffix ".toml" file;
    in
    { app = name; } // lib.importTOML (catalog + "/${file}") // { inherit catalog name; };

  # What serves an engine of a kind, as its package is called. Kinds that are not here cannot be
  # built yet: their models have a checkpoint and nothing else.
  servers = {
    gguf = "tritonserver";
    tensorrt-llm = "tritonserver";
  };

  ofVariant =
    model: variant:
    let
      ranks = variant.tensor_parallel;
      suffix = lib.optionalString (ranks > 1) "-tp${toString ranks}";
      engine = self.mkEngine {
        inherit model variant suffix;
        checkpoint = self."${model.name}-checkpoint";
      };
      named = name: builder: { ${name} = builder { inherit engine name; }; };
      server = "${servers.${model.kind}}-${model.app}${suffix}";
    in
    {
      "${model.name}-engine${suffix}" = engine;
      "image-${server}" = self.mkTritonImage { inherit engine server; };
      "k8s-${model.name}${suffix}" = self.mkKubernetes { inherit model variant suffix; };
    }
    // named server self.mkTritonServer
    // named "openai-${model.app}${suffix}" self.mkGateway;

  ofModel =
    model:
    { "${model.name}-checkpoint" = self.mkCheckpoint model; }
    // lib.optionalAttrs (servers ? ${model.kind}) (
      lib.concatMapAttrs (_: ofVariant model) model.variants
    );
in
lib.mergeAttrsList (map (file: ofModel (readModel file)) files)
