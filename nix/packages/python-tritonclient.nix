# Triton's gRPC messages for Python; nixpkgs' one is older, and made for protobuf 4.
{
  lib,
  python,
  fetchPypi,
}:
python.pkgs.buildPythonPackage rec {
  pname = "tritonclient";
  # The last whose generated code runs with the grpcio of the locked nixpkgs and with protobuf 6.
  version = "2.69.0";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = "py3";
    python = "py3";
    hash = "sha256-hGVm0u2WIElWNX3L4NfNIqVgJF+OOG6YEqWKBjkMRIg=";
  };

  dependencies = with python.pkgs; [
    numpy
    python-rapidjson
    urllib3
  ];
  optional-dependencies.grpc = with python.pkgs; [
    grpcio
    packaging
    protobuf
  ];

  pythonImportsCheck = [ "tritonclient" ];

  meta = {
    description = "Client library of the Triton inference server";
    homepage = "https://github.com/triton-inference-server/client";
    license = lib.licenses.bsd3;
  };
}
