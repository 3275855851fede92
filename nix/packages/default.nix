# The scope: our packages, runtimes and builders by hand, and what the catalogue stands for.
pkgs: self:
let
  inherit (self) callPackage;
in
{
  # One interpreter for everything of ours; the newest for which numpy 1 has a wheel.
  python = pkgs.python312;

  enginix = callPackage ./enginix.nix { };
  gguf = callPackage ./gguf.nix { };
  tritonclient = callPackage ./tritonclient.nix { };

  numpy1 = callPackage ../runtime/numpy1.nix { };
  nvidia-pytriton = callPackage ../runtime/nvidia-pytriton.nix { };
  xllamacpp = callPackage ../runtime/xllamacpp.nix { };
  triton-cpu-runtime = callPackage ../runtime/triton-cpu.nix { };
  tensorrt-llm-runtime = callPackage ../runtime/tensorrt-llm.nix { };

  demo = callPackage ./demo.nix { };

  kinds = callPackage ../builders/kinds.nix { };
  mkCheckpoint = callPackage ../builders/mk-checkpoint.nix { };
  mkRankCheckpoint = callPackage ../builders/mk-rank-checkpoint.nix { };
  mkEngine = callPackage ../builders/mk-engine.nix { };
  mkServer = callPackage ../builders/mk-server.nix { };
  mkTritonServer = callPackage ../builders/mk-triton-server.nix { };
  mkGateway = callPackage ../builders/mk-gateway.nix { };
}
// import ./from-catalog.nix { inherit (pkgs) lib; } self
