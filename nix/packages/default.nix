# The scope: our packages, runtimes and builders by hand; what the catalogue and the profiles stand
# for by their files.
pkgs: self:
let
  inherit (pkgs) lib;
  inherit (self) callPackage;
  # A model or a profile must not take the name of something else here.
  union = lib.foldl' lib.attrsets.unionOfDisjoint { };
  byHand = {
    # nixpkgs' default: the only one whose packages its binary cache has, as far as we use them.
    python = pkgs.python3;
    # The newest for which numpy 1 has a wheel, for the runtime of the kind triton-cpu alone. None of
    # nixpkgs' packages may be taken for it: a user would compile them.
    runtime-python = pkgs.python312;

    enginix = callPackage ./enginix.nix { };
    enginix-builder = callPackage ./enginix-builder.nix { };
    python-gguf = callPackage ./python-gguf.nix { };
    python-tritonclient = callPackage ./python-tritonclient.nix { };

    mkWheel = callPackage ../runtime/mk-wheel.nix { };
    triton-cpu-runtime = callPackage ../runtime/triton-cpu.nix { };
    tensorrt-llm-runtime = callPackage ../runtime/tensorrt-llm.nix { };

    kinds = callPackage ../builders/kinds.nix { };
    mkCheckpoint = callPackage ../builders/mk-checkpoint.nix { };
    mkRankCheckpoint = callPackage ../builders/mk-rank-checkpoint.nix { };
    mkEngine = callPackage ../builders/mk-engine.nix { };
    mkServer = callPackage ../builders/mk-server.nix { };
    mkUp = callPackage ../builders/mk-up.nix { inherit self; };
    mkTritonServer = callPackage ../builders/mk-triton-server.nix { };
    mkGateway = callPackage ../builders/mk-gateway.nix { };
    mkKubernetes = callPackage ../builders/mk-kubernetes.nix { };
    mkOci = callPackage ../builders/mk-oci.nix { };
    mkImage = callPackage ../builders/mk-image.nix { };
    mkTritonImage = callPackage ../builders/mk-triton-image.nix { };
    mkRendered = callPackage ../builders/mk-rendered.nix { };
    image-gateway = callPackage ../builders/mk-gateway-image.nix { };

    grafana-dashboard = self.mkRendered {
      name = "grafana-dashboard";
      command = "grafana";
      file = "enginix.json";
      description = "Grafana dashboard of gateways and models";
    };
    prometheus-rules = self.mkRendered {
      name = "prometheus-rules";
      command = "prometheus";
      file = "enginix.yaml";
      description = "Alert rules for Prometheus";
    };
  };
in
union [
  byHand
  (lib.mapAttrs (_: self.mkWheel) (
    import ../runtime/wheels.nix {
      inherit lib self;
      inherit (pkgs) zlib;
    }
  ))
  (import ./from-catalog.nix { inherit lib; } self)
  (import ./from-profiles.nix { inherit lib; } self)
]
