# The options of one service, `services.enginix.<name>`. docs/nixos-options.md is made from them.
{ lib, profiles }:
let
  inherit (lib) types;
  plain = types.oneOf [
    types.bool
    types.int
    types.float
    types.str
  ];
  secret =
    description:
    lib.mkOption {
      type = types.nullOr types.path;
      default = null;
      inherit description;
    };
in
{
  enable = lib.mkOption {
    type = types.bool;
    default = true;
    description = "Whether to run this service.";
  };

  profile = lib.mkOption {
    type = types.nullOr (types.enum profiles);
    default = null;
    example = "qwen3";
    description = ''
      The models that `enginix up` runs, by the name of a profile, as `enginix up --help` lists them.
      Without a profile, models or a package, it starts with no model, and clients load what they
      need.
    '';
  };

  models = lib.mkOption {
    type = types.nullOr (types.either types.path (types.attrsOf (types.attrsOf types.anything)));
    default = null;
    example = {
      chat = {
        engine = "vllm";
        model_path = "/srv/models/qwen3-coder-30b";
      };
    };
    description = ''
      The models that it runs, instead of a profile's: what a `models.json` has below `models`, or
      the path of such a file. `model_path` may be an engine's package. Where they change, the
      service is reloaded and not restarted.
    '';
  };

  loadModels = lib.mkOption {
    type = types.listOf types.str;
    default = [ ];
    example = [
      "demo"
      "qwen3-32b"
    ];
    description = ''
      Models of the catalogue that it runs, each with the server of its kind; with `models`, which
      of those it runs.
    '';
  };

  engines = lib.mkOption {
    type = types.enum [
      "store"
      "start"
    ];
    default = "store";
    description = ''
      Where the engines of catalogue models come from. `"store"`: Nix builds them with the system,
      which for TensorRT-LLM needs `sandbox = "relaxed"` and the GPU. `"start"`: the service
      `enginix-<name>-prepare` fetches the checkpoints and builds the engines in the service's
      cache before the first start; the runtimes still come from the store.
    '';
  };

  package = lib.mkOption {
    type = types.nullOr types.package;
    default = null;
    description = ''
      What to run instead of `enginix up`: one of this flake's `tritonserver-*`, `openai-*`, or a
      profile's package.
    '';
  };

  settings = lib.mkOption {
    type = types.attrsOf (types.oneOf [
      plain
      (types.listOf types.str)
    ]);
    default = { };
    example = {
      host = "0.0.0.0";
      port = 9000;
      set = [ "demo.http_port=8100" ];
    };
    description = ''
      The command's flags: `port = 9000` is `--port=9000`, `verbose = true` is `--verbose`, and a
      list is the flag once for each of its values. `enginix up --help` has them all.
    '';
  };

  apiKeysFile = secret ''
    The keys that clients need: one per line, or a `.toml` file of named keys, as `enginix keys`
    writes it. systemd gives the service a copy when it starts, so only root must be able to read
    the file, and a change needs a restart. It must not be in the Nix store.
  '';

  hfTokenFile = secret ''
    A token for the Hugging Face hub, for checkpoints that need one; likewise.
  '';

  environmentFile = secret ''
    File with secrets as environment variables; it stays out of the Nix store.
  '';

  gpus = lib.mkOption {
    type = types.nullOr (types.listOf types.str);
    default = null;
    example = [ "0" ];
    description = ''
      The GPUs that the service sees, by number or UUID; `null` for all, `[ ]` for none. Two
      services that name a GPU are refused, also if a model of their profiles does.
    '';
  };

  openFirewall = lib.mkOption {
    type = types.bool;
    default = false;
    description = ''
      Whether to open the gateway's port in the firewall. The models' servers stay on 127.0.0.1.
    '';
  };

  openPorts = lib.mkOption {
    type = types.listOf types.port;
    default = [ ];
    description = "TCP ports to open in the firewall.";
  };

  hardening = lib.mkOption {
    type = types.bool;
    default = true;
    description = ''
      Whether systemd takes away all rights that the service does not need: of files it may write
      its cache and state, of devices it has the GPUs, and it may make the system calls of
      services and of bubblewrap. Without it the service still has a user of its own.
    '';
  };
}
