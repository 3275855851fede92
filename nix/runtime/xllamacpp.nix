# llama.cpp as one shared library; the token engine calls its C API, whose layout it pins.
{
  lib,
  stdenv,
  runtime-python,
  fetchPypi,
  autoPatchelfHook,
}:
let
  hashes = {
    x86_64-linux = "sha256-xU59E1IOzJicY9yZ1V3jBl4vNDqR9D8FPRa15iB3wmE=";
    aarch64-linux = "sha256-4qPnnndVFd5K0ZfmZ/h0BwRG75rJzyBEvJhmvExyKJ4=";
  };
  inherit (stdenv.hostPlatform) system;
  machine = lib.removeSuffix "-linux" system;
in
runtime-python.pkgs.buildPythonPackage rec {
  pname = "xllamacpp";
  version = "2026.10.11549";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = "cp310";
    python = "cp310";
    abi = "abi3";
    platform = "manylinux2014_${machine}.manylinux_2_17_${machine}";
    hash = hashes.${system};
  };

  nativeBuildInputs = [ autoPatchelfHook ];
  # The wheel's libraries were patched by auditwheel, and strip breaks such files.
  dontStrip = true;
  buildInputs = [ stdenv.cc.cc.lib ];

  pythonImportsCheck = [ "xllamacpp" ];

  meta = {
    description = "llama.cpp as a Python extension";
    homepage = "https://github.com/xorbitsai/xllamacpp";
    license = lib.licenses.mit;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    platforms = lib.platforms.linux;
  };
}
