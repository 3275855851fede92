# bin/python that imports the stand-in for TensorRT-LLM, which the test has put into ./fakes.
{
  python3,
  symlinkJoin,
  writeShellApplication,
}:
let
  python = python3.withPackages (available: [ available.numpy ]);
in
symlinkJoin {
  name = "tensorrt-llm-stand-in";
  paths = [
    (writeShellApplication {
      name = "python";
      text = ''
        PYTHONPATH=${./fakes} exec ${python}/bin/python "$@"
      '';
    })
  ];
  meta.description = "A stand-in for TensorRT-LLM";
}
