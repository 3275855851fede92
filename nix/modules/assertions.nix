# What a configuration must not say, in sentences that name the option and what to do.
{ lib, facts }:
services:
let
  option = name: key: "services.enginix.${name}${lib.optionalString (key != "") ".${key}"}";
  names = lib.attrNames services;

  isLoopback = host: lib.hasPrefix "127." host || host == "localhost" || host == "::1";

  # A path literal is copied into the store as soon as it is used.
  isPublic =
    path: path != null && (builtins.isPath path || lib.hasPrefix builtins.storeDir (toString path));
  ofSecret = name: key: {
    assertion = !isPublic services.${name}.${key};
    message = "${option name key} is in the Nix store, where everybody can read it; give the path of a file elsewhere as a string, such as \"/run/secrets/enginix\".";
  };

  ofService =
    name:
    let
      service = services.${name};
      chosen = lib.filter (key: service.${key} != null) [
        "package"
        "profile"
        "models"
      ];
      unknown = lib.filter (
        model:
        if service.models == null then
          !lib.elem model facts.catalog
        else
          lib.isAttrs service.models && !(service.models ? ${model})
      ) service.loadModels;
      incomplete = lib.filter (
        name: !(service.models.${name} ? engine && service.models.${name} ? model_path)
      ) (lib.attrNames (lib.optionalAttrs (lib.isAttrs service.models) service.models));
      host = facts.host service;
    in
    [
      {
        assertion = lib.length chosen < 2;
        message = "${option name ""} has ${lib.concatStringsSep " and " chosen}; each says what to run, so set one of them.";
      }
      {
        assertion = service.loadModels == [ ] || service.package == null && service.profile == null;
        message = "${option name "loadModels"} is for a service without a profile or a package, which have their models; leave one of them out.";
      }
      {
        assertion = unknown == [ ];
        message = "${option name "loadModels"} has ${lib.concatStringsSep ", " unknown}, which is in neither ${option name "models"} nor the catalogue; `enginix models` lists the catalogue's.";
      }
      {
        assertion = incomplete == [ ];
        message = "${option name "models"} has ${lib.concatStringsSep ", " incomplete} without an engine or a model_path; give each model both, as in a models.json.";
      }
      {
        assertion = service.engines == "store" || facts.isUp service;
        message = "${option name "engines"} is \"start\", but a package has its engine in the store; leave one of them out.";
      }
      {
        assertion = service.engines == "store" || lib.match "[a-z][a-z0-9-]{0,22}" name != null;
        message = "${option name ""} needs a name of at most 23 lower-case letters, digits and dashes for engines = \"start\": it is a part of the user's, whom two services share.";
      }
      {
        assertion = !service.openFirewall || !isLoopback host;
        message = "${option name "openFirewall"} opens port ${toString (facts.port service)}, but the gateway listens on ${host} alone; set ${option name "settings.host"} = \"0.0.0.0\".";
      }
    ]
    ++ map (ofSecret name) [
      "apiKeysFile"
      "hfTokenFile"
      "environmentFile"
    ];

  # For two services that have something in common, each pair once.
  ofPairs =
    what: of:
    lib.concatMap (
      name:
      map (
        other:
        let
          both = lib.filter (each: lib.elem each (of services.${other})) (of services.${name});
        in
        {
          assertion = both == [ ];
          message = "${option name ""} and ${option other ""} both have the ${what} ${lib.concatMapStringsSep ", " toString both}; give each its own.";
        }
      ) (lib.filter (other: name < other) names)
    ) names;
in
lib.concatMap ofService names ++ ofPairs "port" facts.ports ++ ofPairs "GPU" facts.gpus
