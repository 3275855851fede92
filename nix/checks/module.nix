# The NixOS module, evaluated with just the options of NixOS that it sets; the result is the units.
{
  lib,
  writeText,
  demo,
}:
let
  inherit (lib) types;
  nixos.options = {
    systemd.services = lib.mkOption {
      type = types.attrsOf types.anything;
      description = "Units.";
      default = { };
    };
    networking.firewall.allowedTCPPorts = lib.mkOption {
      type = types.listOf types.port;
      description = "Open ports.";
      default = [ ];
    };
  };
  machine.services.enginix = {
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
  inherit
    (lib.evalModules {
      modules = [
        ../modules/enginix.nix
        nixos
        machine
      ];
    })
    config
    ;
in
writeText "enginix-units.json" (
  builtins.toJSON {
    units = config.systemd.services;
    ports = config.networking.firewall.allowedTCPPorts;
  }
)
