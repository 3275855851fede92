# The `enginix` command: both halves, build side and serve side.
{
  lib,
  installShellFiles,
  python,
  python-gguf,
  python-orjson,
  python-tritonclient,
  # Parts to leave out, as paths.
  without ? [ ],
}:
let
  inherit (lib.importTOML ../../python/pyproject.toml) project;
in
python.pkgs.buildPythonApplication {
  pname = "enginix";
  inherit (project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../..;
    # hatch_build.py puts Triton's files into the package.
    fileset = lib.fileset.difference (lib.fileset.unions [
      ../../python
      ../../triton-repo
    ]) (lib.fileset.unions without);
  };
  sourceRoot = "source/python";

  build-system = [ python.pkgs.hatchling ];

  # The scripts are made from all commands.
  nativeBuildInputs = lib.optionals (without == [ ]) [ installShellFiles ];
  postInstall = lib.optionalString (without == [ ]) ''
    # Root may write anywhere: no cache of Python's goes into the libraries.
    export PYTHONDONTWRITEBYTECODE=1
    installShellCompletion --cmd enginix \
      --bash <($out/bin/enginix completion bash) \
      --zsh <($out/bin/enginix completion zsh) \
      --fish <($out/bin/enginix completion fish)
  '';

  dependencies =
    (with python.pkgs; [
      fastapi
      hpack
      httpx
      huggingface-hub
      jinja2
      numpy
      prometheus-client
      pydantic
      rich
      tokenizers
      uvicorn
    ])
    ++ [
      python-gguf
      python-orjson
      python-tritonclient
    ]
    # The extra `otel`.
    ++ lib.optionals (without == [ ]) [
      python.pkgs.opentelemetry-exporter-otlp-proto-http
      python.pkgs.opentelemetry-sdk
    ]
    ++ python.pkgs.uvicorn.optional-dependencies.standard
    ++ python-tritonclient.optional-dependencies.grpc;

  # The command itself imports nothing before it knows what it is asked: these reach every dependency.
  pythonImportsCheck = [
    "enginix.cli.main"
    "enginix.cli.engine"
    "enginix.checkpoint.download"
  ]
  ++ lib.optionals (without == [ ]) [
    "enginix.backends.triton"
    "enginix.cli.bench"
    "enginix.cli.up"
    "enginix.gateway.app"
    "enginix.gateway.http.protocol"
    "enginix.gateway.server"
    "enginix.gateway.traces.otlp"
    "enginix.triton.server.repository"
  ];

  meta = {
    inherit (project) description;
    license = lib.licenses.asl20;
    mainProgram = "enginix";
    platforms = lib.platforms.linux;
  };
}
