# For home-manager: services.enginix.<name>, each the user's own service `enginix-<name>`, with what
# `enginix systemd render --user` writes. Its profile's engines and runtimes come from the store.
scopes:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  facts = import ./facts.nix { inherit lib; };
  inherit (facts.description) hardening service stop;
  scope = scopes.${pkgs.stdenv.hostPlatform.system};

  unit =
    { profile, arguments }:
    {
      Unit.Description = scope.${profile}.meta.description;
      Service =
        lib.removeAttrs service [ "system" ]
        // hardening.any
        // {
          ExecStart = "${lib.getExe scope.${profile}} ${lib.escapeShellArgs arguments}";
          TimeoutStopSec = stop.servers + stop.drain;
        };
      Install.WantedBy = [ "default.target" ];
    };
in
{
  options.services.enginix = lib.mkOption {
    type = types.attrsOf (
      types.submodule {
        options = {
          profile = lib.mkOption {
            type = types.enum facts.profiles;
            description = "The models that it runs.";
          };
          arguments = lib.mkOption {
            type = types.listOf types.str;
            default = [ ];
            description = "More arguments of `enginix up`; % and $ are systemd's.";
          };
        };
      }
    );
    default = { };
    description = "Services of enginix, each as the user's service `enginix-<name>`.";
  };

  config.systemd.user.services = lib.mapAttrs' (
    name: service: lib.nameValuePair "enginix-${name}" (unit service)
  ) config.services.enginix;
}
