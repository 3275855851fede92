# The real tritonserver, as NVIDIA builds it for CPUs too, with its Python backend.
{
  lib,
  stdenv,
  runtime-python,
  fetchPypi,
  autoPatchelfHook,
  zlib,
  numpy1,
}:
let
  hashes = {
    x86_64-linux = "sha256-IfBj/5O7Qm0MBrelXn6578/mLA3d2akI6Yd+GHEBKN8=";
    aarch64-linux = "sha256-+Z4H7lb+BlM3RTlWr7oX0mc+AuxqYyw94mzm57MqCJg=";
  };
  inherit (stdenv.hostPlatform) system;
in
runtime-python.pkgs.buildPythonPackage rec {
  pname = "nvidia-pytriton";
  version = "0.7.0";
  format = "wheel";

  src = fetchPypi {
    pname = "nvidia_pytriton";
    inherit version format;
    dist = "py3";
    python = "py3";
    platform = "manylinux_2_35_${lib.removeSuffix "-linux" system}";
    hash = hashes.${system};
  };

  dependencies = [ numpy1 ];
  # The wheel's Python half asks for a dozen more (protobuf, pyzmq, tritonclient); it is never
  # imported here, and the server and its stub need numpy only.
  dontCheckRuntimeDeps = true;

  nativeBuildInputs = [ autoPatchelfHook ];
  # The wheel's libraries were patched by auditwheel, and strip breaks such files.
  dontStrip = true;
  buildInputs = [
    runtime-python
    stdenv.cc.cc.lib
    zlib
  ];

  # Each stub needs the libpython of its own version: only ours is there.
  postInstall = ''
    find "$out" -path '*/python_backend_stubs/*' -name triton_python_backend_stub \
      ! -path '*/${runtime-python.pythonVersion}/*' -delete
  '';

  meta = {
    description = "NVIDIA Triton inference server with its Python backend, as a wheel";
    homepage = "https://github.com/triton-inference-server/pytriton";
    license = lib.licenses.asl20;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    platforms = lib.platforms.linux;
  };
}
