# What each file of the catalogue stands for: a checkpoint, and for every variant an engine, a
# server and a gateway. The same files tell Python; a model is added there and nowhere else.
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

  # What serves an engine of a kind, as its package is called.
  servers = {
    gguf = "tritonserver";
    tensorrt-llm = "tritonserver";
    llmapi = "trtllm-serve";
    vllm = "vllm";
  };

  ofVariant =
    model: checkpoint: variant:
    let
      suffix = lib.optionalString (variant.tensor_parallel > 1) "-tp${toString variant.tensor_parallel}";
      engine = self.mkEngine {
        inherit
          checkpoint
          model
          suffix
          variant
          ;
      };
    in
    {
      "${model.name}-engine${suffix}" = engine;
      "${servers.${model.kind}}-${model.app}${suffix}" = self.mkTritonServer {
        name = "${servers.${model.kind}}-${model.app}${suffix}";
        inherit engine model;
      };
      "openai-${model.app}${suffix}" = self.mkGateway {
        name = "openai-${model.app}${suffix}";
        inherit engine model;
      };
    };

  ofModel =
    model:
    let
      checkpoint = self.mkCheckpoint model;
    in
    {
      "${model.name}-checkpoint" = checkpoint;
    }
    // lib.concatMapAttrs (_: ofVariant model checkpoint) model.variants;
in
lib.mergeAttrsList (map (file: ofModel (readModel file)) files)
