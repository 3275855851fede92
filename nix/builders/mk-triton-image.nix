# `image-tritonserver-<app>`: Triton and the runtime of one engine, which is mounted at /engine.
# An image with the engine in it: `.#image-tritonserver-<app>.withEngine`.
{
  lib,
  runCommand,
  kinds,
  mkImage,
}:
{
  # As the package is called that runs it without a container.
  server,
  engine,
}:
let
  inherit (engine) model;
  # What a runtime is where its image is the root file system.
  container = engine.runtime.container or { inherit (engine) runtime; };
  linked = runCommand "engine-at-root" { } "mkdir $out; ln -s ${engine} $out/engine";

  image =
    engines:
    mkImage {
      name = server;
      description = "Triton for ${model.title}";
      command = [ "triton" ];
      arguments = [ "/engine" ];
      ports = [
        8000
        8001
        8002
      ];
      health = "http://127.0.0.1:8000/v2/health/ready";
      environment = {
        ${kinds.${model.kind}.variable} = "${container.runtime}";
      }
      // container.environment or { };
      labels = {
        "enginix.engine.kind" = model.kind;
        "enginix.model" = model.name;
        "enginix.runtime" = container.runtime.name;
      }
      // container.labels or { }
      // lib.optionalAttrs (engines != [ ]) { "enginix.engine" = baseNameOf "${engine}"; };
      system = container.system or null;
      contents = lib.optional (engines != [ ]) linked;
      uses = [ engine.runtime ] ++ engines;
      passthru.withEngine = image [ engine ];
    };
in
image [ ]
