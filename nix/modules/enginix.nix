# services.enginix.<name>: each a systemd service, which runs `enginix up` or another server of this
# flake. docs/nixos.md explains it; what is in the unit is in python/enginix/deploy/systemd.toml.
#
# `scopes`: system -> this flake's packages for it.
scopes:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  facts = import ./facts.nix { inherit lib; };
  inherit (facts) description;
  services = lib.filterAttrs (_: service: service.enable) config.services.enginix;
  perService = f: lib.mkMerge (lib.mapAttrsToList f services);

  flag =
    name: value:
    if lib.isBool value then
      lib.optional value "--${name}"
    else
      map (each: "--${name}=${toString each}") (lib.toList value);
  flags = settings: lib.concatLists (lib.mapAttrsToList flag settings);

  modelsFile =
    name: service:
    pkgs.writeText "enginix-${name}.json" (builtins.toJSON { inherit (service) models; });

  command =
    name: service:
    if !facts.isUp service then
      service.package
    else
      scopes.${pkgs.stdenv.hostPlatform.system}.mkUp {
        name = "enginix-${name}";
        description = facts.title service;
        arguments =
          lib.optional (service.profile != null) service.profile
          ++ lib.optional (lib.isAttrs service.models) "--models=/etc/enginix/${name}.json"
          # A path literal is copied into the store.
          ++ lib.optional (builtins.isPath service.models) "--models=${service.models}"
          ++ lib.optional (lib.isString service.models) "--models=${service.models}"
          ++ map (model: "--model=${model}") service.loadModels;
        models = facts.models service;
        withEngines = service.engines == "store";
      };

  hasKeys = service: service.apiKeysFile != null || service.environmentFile != null;
  # The suffix says whether the keys have names.
  keysName =
    service:
    if lib.hasSuffix ".toml" (toString service.apiKeysFile) then "api-keys.toml" else "api-keys";

  script =
    name: service: more:
    let
      arguments = lib.escapeShellArgs (flags service.settings ++ more);
      keys = lib.optionalString (
        service.apiKeysFile != null
      ) "--api-keys=\"$CREDENTIALS_DIRECTORY\"/${keysName service}";
    in
    "exec ${lib.getExe (command name service)} ${arguments} ${keys}";

  named =
    name:
    let
      replaced = lib.replaceStrings [ "@name@" ] [ "enginix-${name}" ];
    in
    lib.mapAttrs (_: value: if lib.isString value then replaced value else value);

  # What the service and the one before it have in common.
  common =
    name: service:
    let
      usesGpu = service.gpus != [ ];
      # A longer name is not a user's: systemd then takes another.
      withUser = lib.match "[a-z][a-z0-9-]{0,22}" name != null;
      system = named name description.service.system;
      hardening = description.hardening.any // description.hardening.system;
      credential = id: path: lib.optional (path != null) "${id}:${toString path}";
    in
    {
      wants = description.unit.system.Wants;
      after = description.unit.system.After;
      environment =
        named name description.environment.system
        // lib.optionalAttrs (service.gpus != null) {
          CUDA_VISIBLE_DEVICES = lib.concatStringsSep "," service.gpus;
        }
        // lib.optionalAttrs (service.hfTokenFile != null) { HF_TOKEN_PATH = "%d/hf-token"; };
      # nvidia-smi is the driver's.
      path = lib.optional usesGpu "/run/current-system/sw";
      serviceConfig =
        (if withUser then system else lib.removeAttrs system [ "User" ])
        // {
          EnvironmentFile = lib.optional (service.environmentFile != null) service.environmentFile;
          LoadCredential =
            credential (keysName service) service.apiKeysFile
            ++ credential "hf-token" service.hfTokenFile;
        }
        // lib.optionalAttrs service.hardening hardening
        // lib.optionalAttrs (service.hardening && usesGpu) description.devices.gpu
        // lib.optionalAttrs (!usesGpu) description.devices.none;
    };

  serving =
    name: service:
    let
      shared = common name service;
      before = lib.optional (service.engines == "start") "enginix-${name}-prepare.service";
    in
    shared
    // {
      inherit ((command name service).meta) description;
      wantedBy = [ "multi-user.target" ];
      wants = shared.wants ++ before;
      after = shared.after ++ before;
      script = script name service [ ];
      reloadTriggers = lib.optional (lib.isAttrs service.models) (modelsFile name service);
      serviceConfig =
        lib.removeAttrs description.service [ "system" ]
        // shared.serviceConfig
        // {
          TimeoutStopSec = facts.stopSeconds service;
        };
    };

  preparing =
    name: service:
    let
      shared = common name service;
    in
    shared
    // {
      description = "Runtimes and engines of enginix-${name}";
      script = script name service [ "--prepare" ];
      serviceConfig = description.prepare // shared.serviceConfig;
    };
in
{
  options.services.enginix = lib.mkOption {
    type = lib.types.attrsOf (
      lib.types.submodule {
        options = import ./options.nix {
          inherit lib;
          inherit (facts) profiles;
        };
      }
    );
    default = { };
    description = "Services of enginix, each as the systemd service `enginix-<name>`.";
  };

  config = {
    assertions = import ./assertions.nix { inherit lib facts; } services;
    warnings = lib.concatLists (
      lib.mapAttrsToList (
        name: service:
        lib.optional (service.openFirewall && !(hasKeys service)) "services.enginix.${name}: whoever reaches port ${toString (facts.port service)} can use, load and unload its models, because no key is needed; set services.enginix.${name}.apiKeysFile."
      ) services
    );
    systemd.services = perService (
      name: service:
      {
        "enginix-${name}" = serving name service;
      }
      // lib.optionalAttrs (service.engines == "start") {
        "enginix-${name}-prepare" = preparing name service;
      }
    );
    environment.etc = perService (
      name: service:
      lib.optionalAttrs (lib.isAttrs service.models) {
        "enginix/${name}.json".source = modelsFile name service;
      }
    );
    networking.firewall.allowedTCPPorts = lib.concatMap (
      service: service.openPorts ++ lib.optional service.openFirewall (facts.port service)
    ) (lib.attrValues services);
  };
}
