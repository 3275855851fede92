# `nix run .#demo`: the embedded default, Triton and gateway under one supervisor.
{
  mkServer,
  demo-engine,
  triton-cpu-runtime,
}:
mkServer {
  name = "demo";
  description = "Triton and the OpenAI API with the demo model, on any CPU";
  arguments = [
    "up"
    "demo"
  ];
  environment = {
    ENGINIX_ENGINE = "${demo-engine}";
    ENGINIX_RUNTIME_TRITON_CPU = "${triton-cpu-runtime}";
  };
}
