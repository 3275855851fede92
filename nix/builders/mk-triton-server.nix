# `tritonserver-<app>`: NVIDIA Triton with one engine.
{ mkServer, triton-cpu-runtime }:
{
  name,
  engine,
  model,
}:
mkServer {
  inherit name;
  description = "Triton with ${model.title}";
  arguments = [
    "triton"
    "${engine}"
  ];
  environment.ENGINIX_RUNTIME_TRITON_CPU = "${triton-cpu-runtime}";
}
