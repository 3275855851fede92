# services.enginix.<name>: servers of this flake as systemd services, one unit each. For example
#   services.enginix.triton.package = enginix.packages.x86_64-linux.tritonserver-qwen3-tp4;
#   services.enginix.gateway = {
#     package = enginix.packages.x86_64-linux.openai-qwen3-tp4;
#     settings.port = 9000;
#   };
{ config, lib, ... }:
let
  inherit (lib) types;
  servers = lib.filterAttrs (_: server: server.enable) config.services.enginix;

  server = {
    options = {
      enable = lib.mkOption {
        type = types.bool;
        default = true;
        description = "Whether to run this server.";
      };
      package = lib.mkOption {
        type = types.package;
        description = "What to run: `demo`, or one of `tritonserver-*` and `openai-*`.";
      };
      settings = lib.mkOption {
        type = types.attrsOf (
          types.oneOf [
            types.bool
            types.int
            types.float
            types.str
          ]
        );
        default = { };
        example = {
          host = "0.0.0.0";
          port = 9000;
        };
        description = ''
          The command's flags: `port = 9000` is `--port=9000`, `verbose = true` is `--verbose`.
        '';
      };
      environmentFile = lib.mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "File with secrets as environment variables; it stays out of the Nix store.";
      };
      openPorts = lib.mkOption {
        type = types.listOf types.port;
        default = [ ];
        description = "TCP ports to open in the firewall.";
      };
    };
  };

  flag =
    name: value:
    if lib.isBool value then lib.optional value "--${name}" else [ "--${name}=${toString value}" ];

  flags = settings: lib.concatLists (lib.mapAttrsToList flag settings);

  unit =
    name:
    {
      package,
      settings,
      environmentFile,
      ...
    }:
    {
      description = package.meta.description;
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      environment.ENGINIX_HOME = "%C/enginix-${name}";
      script = "exec ${lib.getExe package} ${lib.escapeShellArgs (flags settings)}";
      serviceConfig = {
        DynamicUser = true;
        CacheDirectory = "enginix-${name}";
        EnvironmentFile = lib.optional (environmentFile != null) environmentFile;
        Restart = "on-failure";
        RestartSec = 5;
        # The command itself ends its children, and gets the time to.
        KillMode = "mixed";
        TimeoutStopSec = 60;
        # NCCL and CUDA pin memory.
        LimitMEMLOCK = "infinity";
        # A GPU's devices, and the shared memory between Triton and its Python models, are needed.
        PrivateDevices = false;
        PrivateIPC = false;
        PrivateTmp = true;
        ProtectHome = true;
        ProtectSystem = "strict";
        NoNewPrivileges = true;
        RestrictSUIDSGID = true;
      };
    };
in
{
  options.services.enginix = lib.mkOption {
    type = types.attrsOf (types.submodule server);
    default = { };
    description = "Servers of enginix, each as the service `enginix-<name>`.";
  };

  config = {
    systemd.services = lib.mapAttrs' (
      name: server: lib.nameValuePair "enginix-${name}" (unit name server)
    ) servers;
    networking.firewall.allowedTCPPorts = lib.concatMap (server: server.openPorts) (
      lib.attrValues servers
    );
  };
}
