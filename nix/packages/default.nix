# The scope: our packages, runtimes and builders by hand; what the catalogue and the profiles stand
# for by their files.
pkgs: self:
let
  inherit (pkgs) lib;
  inherit (self) callPackage;
  # A model or a profile must not take the name of something else here.
  union = lib.foldl' lib.attrsets.unionOfDisjoint { };
  byHand = {
    # One interpreter for everything of ours; the newest for which numpy 1 has a wheel.
    python = pkgs.python312;

    enginix = callPackage ./enginix.nix { };
    enginix-builder = callPackage ./enginix-builder.nix { };
    python-gguf = callPackage ./python-gguf.nix { };
    python-tritonclient = callPackage ./python-tritonclient.nix { };

    numpy1 = callPackage ../runtime/numpy1.nix { };
    nvidia-pytriton = callPackage ../runtime/nvidia-pytriton.nix { };
    xllamacpp = callPackage ../runtime/xllamacpp.nix { };
    triton-cpu-runtime = callPackage ../runtime/triton-cpu.nix { };
    tensorrt-llm-runtime = callPackage ../runtime/tensorrt-llm.nix { };

    kinds = callPackage ../builders/kinds.nix { };
    mkCheckpoint = callPackage ../builders/mk-checkpoint.nix { };
    mkRankCheckpoint = callPackage ../builders/mk-rank-checkpoint.nix { };
    mkEngine = callPackage ../builders/mk-engine.nix { };
    mkServer = callPackage ../builders/mk-server.nix { };
    mkTritonServer = callPackage ../builders/mk-triton-server.nix { };
    mkGateway = callPackage ../builders/mk-gateway.nix { };
  };
in
union [
  byHand
  (import ./from-catalog.nix { inherit lib; } self)
  (import ./from-profiles.nix { inherit lib; } self)
]
