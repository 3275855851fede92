# A container image's file system, unpacked into the store.
{
  lib,
  stdenvNoCC,
  runCommand,
  crane,
  cacert,
}:
{ release, reference, hashes }:
let
  inherit (stdenvNoCC.hostPlatform) system;
  # crane takes the image for linux/amd64 unless it is told otherwise, on any machine.
  platforms = {
    x86_64-linux = "linux/amd64";
    aarch64-linux = "linux/arm64";
  };
in
runCommand "tensorrt-llm-image-${release}"
  {
    nativeBuildInputs = [ crane ];
    inherit reference;
    platform = platforms.${system};
    outputHashMode = "recursive";
    outputHash = hashes.${system};
    # What is not in `env` does not reach programs where nixpkgs has structured attributes.
    env.SSL_CERT_FILE = "${cacert}/etc/ssl/certs/ca-bundle.crt";
    impureEnvVars = lib.fetchers.proxyImpureEnvVars;
    # 15 GB are not to be sent to another machine and back.
    preferLocalBuild = true;
    meta = {
      description = "File system of NVIDIA's Triton container with TensorRT-LLM";
      license = lib.licenses.unfree;
      sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    };
  }
  ''
    export HOME=$NIX_BUILD_TOP
    mkdir "$out"
    set -o pipefail
    crane export --platform "$platform" "$reference" - | tar --extract --directory "$out"
  ''
