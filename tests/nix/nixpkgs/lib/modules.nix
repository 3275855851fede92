# A small evaluator of NixOS modules: options with types and defaults, imports, mkIf, mkMerge,
# submodules. A value for an option that nobody declared, or of the wrong type, is refused, and so is
# one without a value.
lib: rec {
  mkOption =
    arguments@{
      type,
      description,
      default ? null,
      example ? null,
      defaultText ? null,
    }:
    arguments // { _type = "option"; };
  mkEnableOption =
    what:
    mkOption {
      type = lib.types.bool;
      description = "Whether to enable ${what}.";
      default = false;
    };
  literalExpression = text: { inherit text; };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };

  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };

  evalModules =
    {
      modules,
      specialArgs ? { },
    }:
    let
      arguments = {
        inherit config lib;
      }
      // specialArgs;
      loaded = lib.concatMap (load arguments) modules;
      options = lib.foldl' lib.recursiveUpdate { } (map (module: module.options) loaded);
      config = valuesOf "" options (lib.concatMap (module: discharge module.config) loaded);
    in
    {
      inherit config options;
    };

  load =
    arguments: module:
    let
      read = if builtins.isPath module then import module else module;
      plain = if lib.isFunction read then read arguments else read;
      isFull = plain ? options || plain ? config || plain ? imports;
    in
    lib.concatMap (load arguments) (plain.imports or [ ])
    ++ [
      {
        options = plain.options or { };
        config = if isFull then plain.config or { } else plain;
      }
    ];

  # The definitions that count, once every mkIf is decided.
  discharge =
    value:
    if value._type or null == "if" then
      lib.optionals value.condition (discharge value.content)
    else if value._type or null == "merge" then
      lib.concatMap discharge value.contents
    else
      [ value ];

  valuesOf =
    where: options: definitions:
    let
      defined = name: lib.concatMap (set: lib.optionals (set ? ${name}) (discharge set.${name})) definitions;
      unknown = lib.removeAttrs (lib.mergeAttrsList definitions) (lib.attrNames options);
    in
    lib.throwIfNot (unknown == { }) "no option is called ${where}${toString (lib.attrNames unknown)}" (
      lib.mapAttrs (
        name: option:
        if option._type or null == "option" then
          valueOf "${where}${name}" option (defined name)
        else
          valuesOf "${where}${name}." option (defined name)
      ) options
    );

  valueOf =
    where: option: definitions:
    if definitions != [ ] then
      mergeDefinitions where option.type definitions
    else
      option.default or (throw "the option ${where} has no value");

  mergeDefinitions =
    where: type: definitions:
    let
      values = lib.concatMap discharge definitions;
    in
    lib.throwIfNot (lib.all type.check values) "${where}: expected a ${type.description}" (
      type.merge where values
    );
}
