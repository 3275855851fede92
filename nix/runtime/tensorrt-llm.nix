# The runtime of the kind tensorrt-llm: commands that run NVIDIA's own programs from their container
# image, unpatched, on this machine's GPUs. Another image: `.override { release = "25.12"; }`.
{
  lib,
  callPackage,
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
  command =
    name: program:
    writeShellApplication {
      inherit name;
      text = ''
        exec ${python}/bin/python3 -I ${./enter-userland.py} ${spec} ${program} "$@"
      '';
      meta.description = "${program} of NVIDIA's container image";
    };
in
symlinkJoin {
  name = "tensorrt-llm-runtime-${release}";
  paths = lib.mapAttrsToList command programs;
  passthru = {
    inherit image;
    buildsAnywhere = false;
  };
  meta = {
    description = "NVIDIA's TensorRT-LLM and Triton, run from their container image";
    license = lib.licenses.unfree;
    platforms = lib.platforms.linux;
  };
}
