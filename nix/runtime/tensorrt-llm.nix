# The runtime of the kind tensorrt-llm: commands that run NVIDIA's own programs from their container
# image, unpatched, on this machine's GPUs. Another image: `.override { release = "25.12"; }`.
# `.container` is the same for our own container images, where NVIDIA's is the root file system.
{
  lib,
  callPackage,
  runCommand,
  writeText,
  writeShellApplication,
  symlinkJoin,
  bubblewrap,
  python,
  release ? "26.06",
  image ? callPackage ./ngc-image.nix { } (
    (import ./ngc-images.nix).${release} // { inherit release; }
  ),
}:
let
  # What the image's own configuration would set: its file system does not hold that.
  environment = {
    PATH = lib.concatStringsSep ":" [
      "/opt/tritonserver/bin"
      "/usr/local/mpi/bin"
      "/usr/local/cuda/bin"
      "/usr/local/bin"
      "/usr/bin"
      "/bin"
    ];
    LD_LIBRARY_PATH = lib.concatStringsSep ":" [
      "/usr/local/lib/python3.12/dist-packages/tensorrt_llm/libs"
      "/usr/local/lib/python3.12/dist-packages/torch/lib"
      "/usr/local/tensorrt/lib"
      "/usr/local/cuda/lib64"
      "/usr/local/mpi/lib"
      "/opt/tritonserver/lib"
    ];
  };
  spec = writeText "tensorrt-llm-userland.json" (
    builtins.toJSON {
      image = "${image}";
      bwrap = lib.getExe bubblewrap;
      inherit environment;
    }
  );

  # Command -> the program in the image.
  programs = {
    python = "python3";
    python3 = "python3";
    mpirun = "mpirun";
    tritonserver = "tritonserver";
    trtllm-serve = "trtllm-serve";
  };
  runtime =
    name: command: more:
    symlinkJoin {
      inherit name;
      paths = lib.mapAttrsToList command programs;
      passthru = {
        inherit image;
        buildsAnywhere = false;
      }
      // more;
      meta = {
        description = "NVIDIA's TensorRT-LLM and Triton, run from their container image";
        license = lib.licenses.unfree;
        platforms = lib.platforms.linux;
      };
    };

  entering =
    name: program:
    writeShellApplication {
      inherit name;
      text = ''
        exec ${python}/bin/python3 -I ${./enter-userland.py} ${spec} ${program} "$@"
      '';
      meta.description = "${program} of NVIDIA's container image";
    };

  # Nothing has to be entered. Our own programs keep their libraries: the settings are NVIDIA's alone.
  inside =
    name: program:
    writeShellApplication {
      inherit name;
      runtimeEnv = environment;
      text = ''exec ${program} "$@"'';
      meta.description = "${program} of NVIDIA's container image";
    };

  # Container runtimes write into /etc, so it is a directory; the rest of the image's root is links.
  root = runCommand "tensorrt-llm-root-${release}" { } ''
    mkdir "$out"
    cp --recursive --no-preserve=mode ${image}/etc "$out/etc"
    rm -f "$out"/etc/{hostname,hosts,resolv.conf}
    for entry in ${image}/*; do
      case $(basename "$entry") in
      dev | etc | nix | proc | run | sys | tmp) ;;
      *) ln -s "$entry" "$out/" ;;
      esac
    done
  '';
in
runtime "tensorrt-llm-runtime-${release}" entering {
  container = {
    runtime = runtime "tensorrt-llm-container-runtime-${release}" inside { };
    system = [ root ];
    labels = lib.optionalAttrs (image ? reference) {
      "org.opencontainers.image.base.name" = image.reference;
    };
    # Of the driver, whose libraries NVIDIA's container toolkit brings in.
    environment.NVIDIA_DRIVER_CAPABILITIES = "compute,utility";
  };
}
