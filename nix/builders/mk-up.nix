# `enginix up` with arguments, as a command that is handed what its models need from the store: their
# runtimes, and their engines unless these are made at the start.
{
  lib,
  kinds,
  mkServer,
  # The scope, which has the engines by name.
  self,
}:
{
  name,
  description,
  arguments,
  # As a profile's [[model]] has them. `path` is a model's directory, if it is not the catalogue's.
  models,
  withEngines ? true,
}:
let
  engineOf = model: self."${model.source or model.name}-engine";
  program = model: model.engine or "triton";
  # What `enginix up` serves from an engine, which Nix builds. Other servers, such as vLLM, are the
  # machine's own: they have to fit the machine's CUDA.
  withEngine = [
    "triton"
    "llamacpp"
  ];
  servedFromEngine = lib.filter (model: lib.elem (program model) withEngine) models;
  ofCatalog = lib.filter (model: !(model ? path)) servedFromEngine;
  engines = lib.optionals withEngines (
    lib.attrValues (lib.genAttrs (map (model: model.source or model.name) ofCatalog) (
      name: engineOf { inherit name; }
    ))
  );

  runtimeOfKind = kind: { ${kinds.${kind}.variable} = kinds.${kind}.runtime; };
  runtimeOf =
    model:
    if program model == "trtllm" then
      runtimeOfKind "tensorrt-llm"
    else if !lib.elem (program model) withEngine then
      { }
    # An engine from the store says what it is; any other directory is taken for llama.cpp's.
    else if model ? path then
      runtimeOfKind (model.path.model.kind or "gguf")
    else
      { ${kinds.${(engineOf model).model.kind}.variable} = (engineOf model).runtime; };
  runtimes = lib.mergeAttrsList (map runtimeOf models);
in
mkServer {
  inherit name description;
  arguments = [ "up" ] ++ arguments;
  environment =
    lib.mapAttrs (_: toString) runtimes
    # Of several it tells them apart by the names in their manifests.
    // lib.optionalAttrs (engines != [ ]) {
      ENGINIX_ENGINE = lib.concatStringsSep ":" (map toString engines);
    };
  uses = engines ++ lib.attrValues runtimes;
}
