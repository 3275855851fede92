# A container image of one command of `enginix`. The result is a script that writes the image to its
# standard output: `./result | docker load`.
{
  lib,
  dockerTools,
  writeTextDir,
  bash,
  coreutils,
  enginix,
  python,
}:
let
  # No file belongs to it: a container may be run as any other user.
  user = "1000:1000";
  minimal = [
    # Triton tries the program of its Python models with sh and starts it with bash.
    dockerTools.binSh
    (writeTextDir "etc/passwd" ''
      root:x:0:0::/:/bin/false
      enginix:x:${user}::/tmp:/bin/false
    '')
    (writeTextDir "etc/group" ''
      root:x:0:
      enginix:x:1000:
    '')
  ];
  seconds = count: count * 1000000000;
in
{
  # In the registry, and as Kubernetes objects name it.
  name,
  description,
  # The command, and what follows it unless whoever runs the image says something else.
  command,
  arguments,
  ports,
  # Answers 200 while it works.
  health,
  environment ? { },
  labels ? { },
  # The root file system beside /nix and /tmp; null is one with a shell and the user, and no more.
  system ? null,
  # More files at the root.
  contents ? [ ],
  # The engines and runtimes in it.
  uses ? [ ],
  passthru ? { },
}:
lib.addMetaAttrs { inherit description; } (
  dockerTools.streamLayeredImage {
    name = "enginix/${name}";
    tag = enginix.version;
    contents = (if system == null then minimal else system) ++ contents;
    extraCommands = "mkdir --mode=1777 tmp";
    config = {
      Entrypoint = [ (lib.getExe enginix) ] ++ command;
      Cmd = arguments;
      Env = lib.mapAttrsToList (variable: value: "${variable}=${value}") (
        {
          # NVIDIA's container toolkit adds nvidia-smi to the last.
          PATH = "${
            lib.makeBinPath [
              enginix
              bash
              coreutils
            ]
          }:/usr/bin";
          HOME = "/tmp";
          PYTHONDONTWRITEBYTECODE = "1";
        }
        // environment
      );
      ExposedPorts = lib.genAttrs (map (port: "${toString port}/tcp") ports) (_: { });
      Healthcheck = {
        Test = [
          "CMD"
          "${python}/bin/python3"
          "-c"
          "import urllib.request as web; web.urlopen('${health}', timeout=5)"
        ];
        Interval = seconds 15;
        Timeout = seconds 10;
        # An engine takes minutes to load.
        StartPeriod = seconds 1800;
      };
      User = user;
      WorkingDir = "/tmp";
      Labels = {
        "org.opencontainers.image.title" = name;
        "org.opencontainers.image.description" = description;
        "org.opencontainers.image.version" = enginix.version;
      }
      // labels;
    };
    passthru = passthru // {
      buildsAnywhere = lib.all (used: used.buildsAnywhere or true) uses;
    };
  }
)
