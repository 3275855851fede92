# A container image's file system, unpacked into the store.
{
  lib,
  stdenvNoCC,
  runCommand,
  crane,
  cacert,
}:
{ release, reference, hashes }:
runCommand "tensorrt-llm-image-${release}"
  {
    nativeBuildInputs = [ crane ];
    inherit reference;
    outputHashMode = "recursive";
    outputHash = hashes.${stdenvNoCC.hostPlatform.system};
    SSL_CERT_FILE = "${cacert}/etc/ssl/certs/ca-bundle.crt";
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
    crane export "$reference" - | tar --extract --directory "$out"
  ''
