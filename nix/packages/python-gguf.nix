# llama.cpp's own writer of GGUF files; nixpkgs' one is older than NVFP4.
{
  lib,
  python,
  fetchPypi,
}:
python.pkgs.buildPythonPackage rec {
  pname = "gguf";
  version = "0.19.0";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = "py3";
    python = "py3";
    hash = "sha256-cLzRDt/ml/strW5AryI0udjs6aQamXYUBRIevaHDwc0=";
  };

  dependencies = with python.pkgs; [
    numpy
    pyyaml
    requests
    tqdm
  ];

  pythonImportsCheck = [ "gguf" ];

  meta = {
    description = "Reader and writer of GGUF files";
    homepage = "https://github.com/ggml-org/llama.cpp";
    license = lib.licenses.mit;
  };
}
