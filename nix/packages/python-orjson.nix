# Reads and writes the gateway's JSON. nixpkgs' one is older than 3.12 and corrupts the heap where it
# writes what is nested some 180 levels deep.
{
  lib,
  stdenv,
  python,
  fetchPypi,
  autoPatchelfHook,
}:
let
  # Which Python and machine a wheel is for, and its hash.
  wheels = {
    "3.11-x86_64-linux" = "sha256-ibzy1Lxsmn4XY8jPU084cS5mt2oP79p/t3hUYvDWNeQ=";
    "3.11-aarch64-linux" = "sha256-3Z2aEBvY2/rREhcPAJzRVeUruMk2RoghoNA8u5bA5CY=";
    "3.12-x86_64-linux" = "sha256-vOrf0xS9I49YT8IppLuvDlc1l+egJt7FQp+/Kf1mxkE=";
    "3.12-aarch64-linux" = "sha256-rh2JXPe7/VDvNLtju3J7FFFPJZ8+P43QEHg7046GTG4=";
    "3.13-x86_64-linux" = "sha256-y+1fTEuI2UvMNhFfTDuzqiXaFWOlwzKKo6zrzisIMEA=";
    "3.13-aarch64-linux" = "sha256-sIHw57YA/yRRPexMp1UH+gXpBGB4R+OG6DENW3uWtsc=";
    "3.14-x86_64-linux" = "sha256-WKlhnYj4gY2atrOdcNIDeJRXuhPB7V0nTzPOmufoGjY=";
    "3.14-aarch64-linux" = "sha256-x0mrOsMLWrH/t2d/i5Lqz9/cUmAhC6o5j4Rbw3FMBdg=";
  };
  inherit (stdenv.hostPlatform) system;
  machine = lib.removeSuffix "-linux" system;
  tag = "cp${lib.replaceStrings [ "." ] [ "" ] python.pythonVersion}";
in
python.pkgs.buildPythonPackage rec {
  pname = "orjson";
  version = "3.13.0";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = tag;
    python = tag;
    abi = tag;
    platform = "manylinux_2_17_${machine}.manylinux2014_${machine}";
    hash =
      wheels."${python.pythonVersion}-${system}"
        or (throw "nix/packages/python-orjson.nix has no wheel's hash for Python ${python.pythonVersion}");
  };

  nativeBuildInputs = [ autoPatchelfHook ];
  # The wheel's libraries were patched by auditwheel, and strip breaks such files.
  dontStrip = true;
  buildInputs = [ stdenv.cc.cc.lib ];

  pythonImportsCheck = [ "orjson" ];

  meta = {
    description = "JSON for Python, written in Rust";
    homepage = "https://github.com/ijl/orjson";
    license = lib.licenses.mpl20;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    platforms = lib.platforms.linux;
  };
}
