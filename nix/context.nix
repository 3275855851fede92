# nixpkgs, instantiated once per system, with this flake's overlay and its one consent.
{
  nixpkgs,
  system,
  overlay,
}:
import nixpkgs {
  inherit system;
  overlays = [ overlay ];
  # NVIDIA's container image; who builds an engine for TensorRT-LLM accepts its licence.
  config.allowUnfreePredicate =
    package:
    nixpkgs.lib.elem (nixpkgs.lib.getName package) [
      "tensorrt-llm-container-runtime"
      "tensorrt-llm-image"
      "tensorrt-llm-runtime"
    ];
}
