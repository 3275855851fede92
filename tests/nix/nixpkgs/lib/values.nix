# Lists, strings and attribute sets.
lib:
let
  letters = text: builtins.genList (index: lib.substring index 1 text) (lib.stringLength text);
in
rec {
  inherit (builtins) readDir;

  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  optionalString = condition: text: if condition then text else "";
  optionalAttrs = condition: set: if condition then set else { };
  flatten = value: if lib.isList value then lib.concatMap flatten value else [ value ];
  unique = lib.foldl' (known: value: if lib.elem value known then known else known ++ [ value ]) [ ];
  last = values: lib.elemAt values (lib.length values - 1);
  imap0 = f: values: builtins.genList (index: f index (lib.elemAt values index)) (lib.length values);
  toInt = text: builtins.fromJSON text;
  toList = value: if lib.isList value then value else [ value ];

  concatStrings = lib.concatStringsSep "";
  concatMapStrings = f: values: concatStrings (map f values);
  concatMapStringsSep =
    separator: f: values:
    lib.concatStringsSep separator (map f values);
  concatLines = concatMapStrings (line: line + "\n");
  hasPrefix = prefix: text: lib.substring 0 (lib.stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      start = lib.stringLength text - lib.stringLength suffix;
    in
    start >= 0 && lib.substring start (-1) text == suffix;
  hasInfix = infix: text: lib.match ".*${escapeRegex infix}.*" text != null;
  removePrefix =
    prefix: text: if hasPrefix prefix text then lib.substring (lib.stringLength prefix) (-1) text else text;
  removeSuffix =
    suffix: text:
    if hasSuffix suffix text then
      lib.substring 0 (lib.stringLength text - lib.stringLength suffix) text
    else
      text;
  toLower = lib.replaceStrings (letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (letters "abcdefghijklmnopqrstuvwxyz");
  splitString = separator: text: lib.filter lib.isString (builtins.split (escapeRegex separator) text);
  escapeRegex = text: lib.replaceStrings [ "\\" "." "+" "*" ] [ "\\\\" "\\." "\\+" "\\*" ] text;
  escapeShellArg =
    value:
    let
      text = toString value;
    in
    if lib.match "[[:alnum:],._+:@%/-]+" text != null then
      text
    else
      "'${lib.replaceStrings [ "'" ] [ "'\\''" ] text}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  toShellVar = name: value: "${name}=${escapeShellArg value}";
  boolToString = value: if value then "true" else "false";

  nameValuePair = name: value: { inherit name value; };
  mapAttrs' = f: set: lib.listToAttrs (map (name: f name set.${name}) (lib.attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (lib.attrNames set);
  filterAttrs =
    keep: set: lib.removeAttrs set (lib.filter (name: !keep name set.${name}) (lib.attrNames set));
  genAttrs = names: f: lib.listToAttrs (map (name: nameValuePair name (f name)) names);
  mergeAttrsList = lib.foldl' (left: right: left // right) { };
  attrsets.unionOfDisjoint =
    left: right:
    left
    // right
    // lib.mapAttrs (name: _: throw "the name ${name} is there twice") (
      builtins.intersectAttrs left right
    );
  concatMapAttrs = f: set: mergeAttrsList (mapAttrsToList f set);
  setAttrByPath =
    path: value:
    if path == [ ] then value else { ${lib.head path} = setAttrByPath (lib.tail path) value; };
  recursiveUpdate =
    left: right:
    left
    // lib.mapAttrs (
      name: value:
      if left ? ${name} && lib.isAttrs left.${name} && lib.isAttrs value then
        recursiveUpdate left.${name} value
      else
        value
    ) right;

  importTOML = file: fromTOML (builtins.readFile file);
  importJSON = file: builtins.fromJSON (builtins.readFile file);
  assertMsg = condition: message: condition || throw message;
  throwIfNot = condition: message: value: if condition then value else throw message;
  versionAtLeast = left: right: builtins.compareVersions left right >= 0;
  versions.major = version: lib.head (builtins.splitVersion version);
}
