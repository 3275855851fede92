# A Python package that is PyPI's own wheel, with the libraries in it patched to find the store's.
{
  lib,
  stdenv,
  fetchPypi,
  autoPatchelfHook,
}:
{
  # The interpreter it is for.
  python,
  pname,
  version,
  # The name in the file's name, where that is another.
  file ? pname,
  # The wheel's Python, ABI and platform tags; the last is a function of the machine.
  tag ? "cp${lib.replaceStrings [ "." ] [ "" ] python.pythonVersion}",
  abi ? tag,
  platform ? machine: "manylinux_2_17_${machine}.manylinux2014_${machine}",
  # Machine -> hash, or `3.13-x86_64` -> hash for a wheel of one Python.
  hashes,
  license,
  buildInputs ? [ ],
  # Anything else is buildPythonPackage's.
  ...
}@row:
let
  machine = lib.removeSuffix "-linux" stdenv.hostPlatform.system;
  wheel = "${python.pythonVersion}-${machine}";
  own = [
    "python"
    "file"
    "tag"
    "abi"
    "platform"
    "hashes"
    "license"
    "description"
    "homepage"
  ];
in
python.pkgs.buildPythonPackage (
  {
    pythonImportsCheck = [ pname ];
  }
  // lib.removeAttrs row own
  // {
    format = "wheel";

    src = fetchPypi {
      pname = file;
      inherit version abi;
      format = "wheel";
      dist = tag;
      python = tag;
      platform = platform machine;
      hash =
        hashes.${machine} or hashes.${wheel}
          or (throw "nix/runtime/wheels.nix has no hash of ${pname}'s wheel for ${wheel}");
    };

    nativeBuildInputs = [ autoPatchelfHook ];
    # The wheel's libraries were patched by auditwheel, and strip breaks such files.
    dontStrip = true;
    buildInputs = [ stdenv.cc.cc.lib ] ++ buildInputs;

    meta = {
      inherit (row) description homepage;
      inherit license;
      sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
      platforms = lib.platforms.linux;
    };
  }
)
