# The packages that are taken as wheels, one row each; mk-wheel.nix says what a row may hold.
{
  lib,
  # The scope: its interpreters and its wheels.
  self,
  zlib,
}:
let
  inherit (lib) licenses;
  python = self.runtime-python;
in
{
  # Reads and writes the gateway's JSON. nixpkgs' one is older than 3.12 and corrupts the heap where
  # it writes what is nested some 180 levels deep.
  python-orjson = {
    inherit (self) python;
    pname = "orjson";
    version = "3.13.0";
    hashes = {
      "3.11-x86_64" = "sha256-ibzy1Lxsmn4XY8jPU084cS5mt2oP79p/t3hUYvDWNeQ=";
      "3.11-aarch64" = "sha256-3Z2aEBvY2/rREhcPAJzRVeUruMk2RoghoNA8u5bA5CY=";
      "3.12-x86_64" = "sha256-vOrf0xS9I49YT8IppLuvDlc1l+egJt7FQp+/Kf1mxkE=";
      "3.12-aarch64" = "sha256-rh2JXPe7/VDvNLtju3J7FFFPJZ8+P43QEHg7046GTG4=";
      "3.13-x86_64" = "sha256-y+1fTEuI2UvMNhFfTDuzqiXaFWOlwzKKo6zrzisIMEA=";
      "3.13-aarch64" = "sha256-sIHw57YA/yRRPexMp1UH+gXpBGB4R+OG6DENW3uWtsc=";
      "3.14-x86_64" = "sha256-WKlhnYj4gY2atrOdcNIDeJRXuhPB7V0nTzPOmufoGjY=";
      "3.14-aarch64" = "sha256-x0mrOsMLWrH/t2d/i5Lqz9/cUmAhC6o5j4Rbw3FMBdg=";
    };
    description = "JSON for Python, written in Rust";
    homepage = "https://github.com/ijl/orjson";
    license = licenses.mpl20;
  };

  # No binary cache has nixpkgs' own for the runtime's Python; its tests pull in pandas and pyarrow.
  tokenizers-wheel = {
    inherit python;
    pname = "tokenizers";
    version = "0.22.2";
    tag = "cp39";
    abi = "abi3";
    hashes = {
      x86_64 = "sha256-NpzJ/IzBDLJBQ4c6DZVDi7juJXu4DHGYnj7ikOjXLGc=";
      aarch64 = "sha256-IklIcBit7EXW41VMcdRus5+o6mcVbGQPdRPrJvMYzsc=";
    };
    # It asks for huggingface-hub, for downloads; the runtime reads an engine's tokenizer.json.
    dontCheckRuntimeDeps = true;
    description = "Tokenizers for Python, of Hugging Face";
    homepage = "https://github.com/huggingface/tokenizers";
    license = licenses.asl20;
  };

  # Triton 24.10's Python stub, the one in the wheel, silently returns empty tensors with numpy 2.
  numpy1 = {
    inherit python;
    pname = "numpy";
    version = "1.26.4";
    hashes = {
      "3.11-x86_64" = "sha256-Zm2/tuxoliwDOkUJQ97Ykb7S1U5nVeNeWDXWP09pMdU=";
      "3.11-aarch64" = "sha256-erVUASh7/slGztOXAMBTeW58wOOsvvCZk6mtKtumym4=";
      "3.12-x86_64" = "sha256-Z11h/7+nhgRwmGKSMYm62UAUvvVizDXPYdOge7oCp+0=";
      "3.12-aarch64" = "sha256-n619yxqsPH8FhKWoEz46Q+6y/hJ/R+NjLUPWd8ZsECs=";
    };
    buildInputs = [ zlib ];
    description = "Arrays for Python, of the last series before 2.0";
    homepage = "https://numpy.org";
    license = licenses.bsd3;
  };

  # The real tritonserver, as NVIDIA builds it for CPUs too, with its Python backend.
  nvidia-pytriton = {
    inherit python;
    pname = "nvidia-pytriton";
    file = "nvidia_pytriton";
    version = "0.7.0";
    tag = "py3";
    abi = "none";
    platform = machine: "manylinux_2_35_${machine}";
    hashes = {
      x86_64 = "sha256-IfBj/5O7Qm0MBrelXn6578/mLA3d2akI6Yd+GHEBKN8=";
      aarch64 = "sha256-+Z4H7lb+BlM3RTlWr7oX0mc+AuxqYyw94mzm57MqCJg=";
    };
    dependencies = [ self.numpy1 ];
    # The wheel's Python half asks for a dozen more (protobuf, pyzmq, tritonclient); it is never
    # imported here, and the server and its stub need numpy only.
    dontCheckRuntimeDeps = true;
    pythonImportsCheck = [ ];
    buildInputs = [
      python
      zlib
    ];
    # Each stub needs the libpython of its own version: only ours is there.
    postInstall = ''
      find "$out" -path '*/python_backend_stubs/*' -name triton_python_backend_stub \
        ! -path '*/${python.pythonVersion}/*' -delete
    '';
    description = "NVIDIA Triton inference server with its Python backend, as a wheel";
    homepage = "https://github.com/triton-inference-server/pytriton";
    license = licenses.asl20;
  };

  # llama.cpp as one shared library; the token engine calls its C API, whose layout it pins.
  xllamacpp = {
    inherit python;
    pname = "xllamacpp";
    version = "2026.10.11549";
    tag = "cp310";
    abi = "abi3";
    platform = machine: "manylinux2014_${machine}.manylinux_2_17_${machine}";
    hashes = {
      x86_64 = "sha256-xU59E1IOzJicY9yZ1V3jBl4vNDqR9D8FPRa15iB3wmE=";
      aarch64 = "sha256-4qPnnndVFd5K0ZfmZ/h0BwRG75rJzyBEvJhmvExyKJ4=";
    };
    description = "llama.cpp as a Python extension";
    homepage = "https://github.com/xorbitsai/xllamacpp";
    license = licenses.mit;
  };
}
