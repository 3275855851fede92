# The NixOS module, evaluated with just the options of NixOS that it sets, of the types that NixOS
# gives them: the units of some machines, and what others are refused for.
{
  lib,
  pkgs,
  writeText,
  demo,
  demo-engine,
  scopes,
}:
let
  inherit (lib) types;
  option =
    type: default:
    lib.mkOption {
      inherit type default;
      description = "As in NixOS.";
    };
  units = option (types.listOf (types.strMatching "[a-zA-Z0-9@%:_.-]+[.](service|target)")) [ ];
  plain = types.oneOf [
    types.bool
    types.int
    types.float
    types.str
    types.path
    types.package
  ];
  variable = types.nullOr (types.oneOf [
    types.str
    types.path
    types.package
  ]);
  unit = {
    description = option types.singleLineStr "";
    wants = units;
    after = units;
    wantedBy = units;
    environment = option (types.attrsOf variable) { };
    path = option (types.listOf (types.either types.package types.str)) [ ];
    script = option types.lines "";
    # NixOS writes a line for each value of a list.
    serviceConfig = option (types.attrsOf (types.either plain (types.listOf plain))) { };
    reloadTriggers = option (types.listOf types.package) [ ];
  };
  nixos.options = {
    assertions = option (types.listOf types.anything) [ ];
    warnings = option (types.listOf types.str) [ ];
    environment.etc = option (types.attrsOf types.anything) { };
    systemd.services = option (types.attrsOf (types.submodule { options = unit; })) { };
    networking.firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
  };
  evaluated =
    services:
    (lib.evalModules {
      modules = [
        (import ../modules scopes)
        nixos
        { services.enginix = services; }
      ];
      specialArgs = { inherit pkgs; };
    }).config;
  refusals =
    services:
    map (each: each.message) (
      lib.filter (each: !each.assertion) (evaluated services).assertions
    );
  machine =
    services:
    let
      config = evaluated services;
    in
    {
      units = config.systemd.services;
      ports = config.networking.firewall.allowedTCPPorts;
      files = lib.mapAttrs (_: file: "${file.source}") config.environment.etc;
      inherit (config) warnings;
      refusals = refusals services;
    };
in
writeText "enginix-units.json" (
  builtins.toJSON {
    # As somebody wrote it for the module's first version.
    first = machine {
      demo = {
        package = demo;
        settings = {
          port = 9000;
          verbose = true;
          quiet = false;
          host = "0.0.0.0";
        };
        environmentFile = "/run/secrets/enginix";
        openPorts = [ 9000 ];
      };
      spare = {
        enable = false;
        package = demo;
      };
    };
    profile = machine {
      demo = {
        profile = "demo";
        settings = {
          host = "0.0.0.0";
          port = 9100;
          drain-seconds = 90;
          set = [ "demo.http_port=8100" ];
          allowed-host = [
            "ai.example"
            "ai"
          ];
        };
        apiKeysFile = "/run/secrets/keys.toml";
        hfTokenFile = "/run/secrets/hf-token";
        openFirewall = true;
        gpus = [ ];
      };
    };
    loaded = machine {
      box = {
        loadModels = [
          "demo"
          "demo-llama"
        ];
        engines = "start";
        gpus = [
          "0"
          "1"
        ];
        hardening = false;
      };
    };
    file = machine {
      chat = {
        models.demo = {
          engine = "triton";
          model_path = demo-engine;
        };
      };
    };
    empty = machine {
      gateway.openFirewall = true;
      gateway.settings.host = "::";
    };
    home =
      (lib.evalModules {
        modules = [
          (import ../modules/home-manager.nix scopes)
          { options.systemd.user.services = option (types.attrsOf types.anything) { }; }
          {
            services.enginix.demo = {
              profile = "demo";
              arguments = [ "--port=9100" ];
            };
          }
        ];
        specialArgs = { inherit pkgs; };
      }).config.systemd.user.services;
    refused = lib.mapAttrs (_: refusals) {
      two-answers.demo = {
        profile = "demo";
        models = { };
      };
      models-of-a-profile.demo = {
        profile = "demo";
        loadModels = [ "demo" ];
      };
      unknown-model = {
        box.loadModels = [
          "demo"
          "demmo"
        ];
        other.settings.port = 9100;
      };
      half-a-row.box.models = {
        a.engine = "vllm";
        b = {
          engine = "vllm";
          model_path = "/srv/b";
        };
      };
      unknown-row.box = {
        models.a = {
          engine = "vllm";
          model_path = "/srv/a";
        };
        loadModels = [ "b" ];
      };
      keys-in-the-store.box.apiKeysFile = ./module.nix;
      token-in-the-store.box.hfTokenFile = "${demo}/token";
      loopback.box.openFirewall = true;
      port-twice = {
        demo.profile = "demo";
        other.profile = "qwen3";
      };
      gateway-twice = {
        a.settings.port = 9100;
        b = {
          profile = "demo";
          settings.port = 9100;
        };
      };
      gpu-twice = {
        a = {
          profile = "vllm-multi";
          settings.port = 9001;
        };
        b = {
          gpus = [ "1" ];
          settings.port = 9002;
        };
      };
      package-at-the-start.box = {
        package = demo;
        engines = "start";
      };
      long-name.a-name-of-more-characters = {
        engines = "start";
      };
    };
  }
)
