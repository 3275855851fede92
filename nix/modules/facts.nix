# What can be told of a service from its options and from the files that Python reads: its models,
# its ports and its GPUs.
{ lib }:
let
  directory = ../../python/enginix;
  description = lib.importTOML (directory + "/deploy/systemd.toml");
  namesIn =
    folder:
    map (lib.removeSuffix ".toml") (
      lib.filter (lib.hasSuffix ".toml") (lib.attrNames (builtins.readDir folder))
    );
  readIn = folder: name: lib.importTOML (folder + "/${name}.toml");

  # What serves a kind's engines unless told otherwise.
  programs = {
    gguf = "triton";
    tensorrt-llm = "triton";
    llmapi = "trtllm";
    vllm = "vllm";
  };

  profile =
    service:
    if service.profile == null then { } else readIn (directory + "/serve/profiles") service.profile;
  profiles = namesIn (directory + "/serve/profiles");
  catalog = namesIn (directory + "/catalog");

  # Their ports are chosen at the start.
  withoutPorts = {
    http_port = 0;
    grpc_port = 0;
    metrics_port = 0;
  };
  catalogModel =
    name:
    let
      inherit (readIn (directory + "/catalog") name) kind;
    in
    withoutPorts
    // {
      inherit name;
      engine = programs.${kind} or kind;
    };
  # The assertions say what is missing.
  fileModel =
    name: model:
    withoutPorts
    // {
      inherit name;
      engine = model.engine or "triton";
      path = model.model_path or "";
    };
in
rec {
  inherit description profiles catalog;

  isUp = service: service.package == null;
  title = service: (profile service).title or "models behind one OpenAI endpoint";

  models =
    service:
    if service.profile != null then
      (profile service).model
    else if lib.isAttrs service.models then
      lib.mapAttrsToList fileModel service.models
    else if service.models != null then
      [ ]
    else
      map catalogModel (lib.filter (name: lib.elem name catalog) service.loadModels);

  # What a gateway or `up` does without the flag.
  gateway =
    service: key: flag: default:
    service.settings.${flag} or (profile service).gateway.${key} or default;
  host = service: gateway service "host" "host" "127.0.0.1";
  port = service: gateway service "port" "port" description.ports.gateway;
  stopSeconds =
    service:
    let
      seconds =
        key: flag: default:
        let
          given = gateway service key flag default;
        in
        if lib.isInt given || builtins.isFloat given then builtins.ceil given else default;
    in
    description.stop.servers
    + seconds "drain_seconds" "drain-seconds" description.stop.drain
    + seconds "shutdown_delay_seconds" "shutdown-delay" 0;

  # The ports it certainly takes, as far as they can be known here.
  ports =
    service:
    let
      flags = map (name: service.settings.${name} or 0) [
        "port"
        "http-port"
        "grpc-port"
        "metrics-port"
      ];
      changed =
        model: key: default:
        let
          prefix = "${model.name}.${key}=";
          found = lib.filter (lib.hasPrefix prefix) (lib.toList (service.settings.set or [ ]));
        in
        if found == [ ] then
          model.${key} or default
        else
          lib.toInt (lib.removePrefix prefix (lib.last found));
      # --http-port and its kin are the first model's.
      ofModel =
        index: model:
        map (kind: changed model "${kind}_port" description.ports.${kind}) (
          lib.filter (kind: index > 0 || !(service.settings ? "${kind}-port")) (
            [ "http" ]
            ++ lib.optionals (model.engine or "triton" == "triton") [
              "grpc"
              "metrics"
            ]
          )
        );
      own = lib.optionals (isUp service) (
        [ (port service) ] ++ lib.concatLists (lib.imap0 ofModel (models service))
      );
    in
    lib.unique (lib.filter (each: lib.isInt each && each > 0) (flags ++ own ++ service.openPorts));

  # The GPUs that it names.
  gpus =
    service:
    if service.gpus != null then
      service.gpus
    else
      lib.unique (
        lib.concatMap (model: model.gpus or [ ]) (lib.optionals (isUp service) (models service))
      );
}
