# numpy 1: Triton 24.10's Python stub, the one in the wheel, silently returns empty tensors with 2.
{
  lib,
  stdenv,
  runtime-python,
  fetchPypi,
  autoPatchelfHook,
  zlib,
}:
let
  # Which Python and machine a wheel is for, and its hash.
  wheels = {
    "3.11-x86_64-linux" = "sha256-Zm2/tuxoliwDOkUJQ97Ykb7S1U5nVeNeWDXWP09pMdU=";
    "3.11-aarch64-linux" = "sha256-erVUASh7/slGztOXAMBTeW58wOOsvvCZk6mtKtumym4=";
    "3.12-x86_64-linux" = "sha256-Z11h/7+nhgRwmGKSMYm62UAUvvVizDXPYdOge7oCp+0=";
    "3.12-aarch64-linux" = "sha256-n619yxqsPH8FhKWoEz46Q+6y/hJ/R+NjLUPWd8ZsECs=";
  };
  inherit (stdenv.hostPlatform) system;
  machine = lib.removeSuffix "-linux" system;
  tag = "cp${lib.replaceStrings [ "." ] [ "" ] runtime-python.pythonVersion}";
in
runtime-python.pkgs.buildPythonPackage rec {
  pname = "numpy";
  version = "1.26.4";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = tag;
    python = tag;
    abi = tag;
    platform = "manylinux_2_17_${machine}.manylinux2014_${machine}";
    hash = wheels."${runtime-python.pythonVersion}-${system}";
  };

  nativeBuildInputs = [ autoPatchelfHook ];
  # The wheel's libraries were patched by auditwheel, and strip breaks such files.
  dontStrip = true;
  buildInputs = [
    stdenv.cc.cc.lib
    zlib
  ];

  pythonImportsCheck = [ "numpy" ];

  meta = {
    description = "Arrays for Python, of the last series before 2.0";
    homepage = "https://numpy.org";
    license = lib.licenses.bsd3;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    platforms = lib.platforms.linux;
  };
}
