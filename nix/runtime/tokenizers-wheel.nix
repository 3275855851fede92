# The tokenizers of the runtime, as a wheel: for its Python no binary cache has nixpkgs' own, whose
# tests alone pull in pandas and pyarrow.
{
  lib,
  stdenv,
  runtime-python,
  fetchPypi,
  autoPatchelfHook,
}:
let
  hashes = {
    x86_64-linux = "sha256-NpzJ/IzBDLJBQ4c6DZVDi7juJXu4DHGYnj7ikOjXLGc=";
    aarch64-linux = "sha256-IklIcBit7EXW41VMcdRus5+o6mcVbGQPdRPrJvMYzsc=";
  };
  inherit (stdenv.hostPlatform) system;
  machine = lib.removeSuffix "-linux" system;
in
runtime-python.pkgs.buildPythonPackage rec {
  pname = "tokenizers";
  version = "0.22.2";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = "cp39";
    python = "cp39";
    abi = "abi3";
    platform = "manylinux_2_17_${machine}.manylinux2014_${machine}";
    hash = hashes.${system};
  };

  # It asks for huggingface-hub, for downloads; the runtime reads an engine's tokenizer.json.
  dontCheckRuntimeDeps = true;

  nativeBuildInputs = [ autoPatchelfHook ];
  # The wheel's libraries were patched by auditwheel, and strip breaks such files.
  dontStrip = true;
  buildInputs = [ stdenv.cc.cc.lib ];

  pythonImportsCheck = [ "tokenizers" ];

  meta = {
    description = "Tokenizers for Python, of Hugging Face";
    homepage = "https://github.com/huggingface/tokenizers";
    license = lib.licenses.asl20;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    platforms = lib.platforms.linux;
  };
}
