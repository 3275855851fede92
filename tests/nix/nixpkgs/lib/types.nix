# Option types: whether a value fits, and how several definitions become one.
lib:
let
  type = description: check: {
    inherit description check;
    merge = one description;
  };
  one =
    description: where: values:
    lib.throwIfNot (
      lib.length values == 1
    ) "${where} (${description}) is defined more than once" (lib.head values);
in
rec {
  anything = type "anything" (_: true);
  bool = type "boolean" lib.isBool;
  float = type "floating point number" builtins.isFloat;
  int = type "integer" lib.isInt;
  package = type "package" lib.isDerivation;
  path = type "path" (
    value: builtins.isPath value || lib.isString value && lib.hasPrefix "/" value
  );
  port = type "port" (value: lib.isInt value && value >= 0 && value <= 65535);
  str = type "string" lib.isString;
  singleLineStr = type "line" (value: lib.isString value && !lib.hasInfix "\n" value);
  lines = str // {
    merge = _: lib.concatStringsSep "\n";
  };
  strMatching =
    pattern:
    type "string matching ${pattern}" (value: lib.isString value && lib.match pattern value != null);

  nullOr = inner: inner // { check = value: value == null || inner.check value; };
  either = left: right: oneOf [ left right ];
  enum = values: type "one of ${builtins.toJSON values}" (value: lib.elem value values);
  oneOf = kinds: type "one of several types" (value: lib.any (kind: kind.check value) kinds);
  listOf = inner: {
    description = "list";
    check = value: lib.isList value && lib.all inner.check value;
    merge = _: lib.concatMap lib.toList;
  };
  attrsOf = inner: {
    description = "attribute set";
    check = lib.isAttrs;
    merge =
      where: values:
      lib.mapAttrs (
        name: _:
        lib.modules.mergeDefinitions "${where}.${name}" inner (
          lib.concatMap (value: lib.optional (value ? ${name}) value.${name}) values
        )
      ) (lib.mergeAttrsList values);
  };
  submodule = module: {
    description = "submodule";
    check = value: lib.isAttrs value || lib.isFunction value;
    merge = where: values: (lib.evalModules { modules = [ module ] ++ values; }).config;
  };
}
