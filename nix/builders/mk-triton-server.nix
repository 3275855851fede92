# `tritonserver-<app>`: NVIDIA Triton with one engine.
{ kinds, mkServer }:
{ name, engine }:
let
  inherit (engine) model runtime;
in
mkServer {
  inherit name;
  description = "Triton with ${model.title}";
  arguments = [
    "triton"
    "${engine}"
  ];
  uses = [ engine ];
  environment.${kinds.${model.kind}.variable} = "${runtime}";
}
