# Fixed points, callPackage, scopes, and what is asked of a derivation.
lib: rec {
  fix =
    f:
    let
      self = f self;
    in
    self;
  extends =
    overlay: f: self:
    let
      before = f self;
    in
    before // overlay self before;
  flip =
    f: first: second:
    f second first;
  toFunction = value: if lib.isFunction value then value else _: value;

  makeOverridable =
    f: arguments:
    let
      result = f arguments;
      override = changes: makeOverridable f (arguments // toFunction changes arguments);
    in
    if lib.isAttrs result then
      result // { inherit override; }
    else if lib.isFunction result then
      {
        __functor = _: result;
        inherit override;
      }
    else
      result;

  callPackageWith =
    scope: file: arguments:
    let
      f = if lib.isFunction file then file else import file;
      wanted = lib.functionArgs f;
      given = builtins.intersectAttrs wanted scope // arguments;
      missing = lib.filter (name: !wanted.${name} && !given ? ${name}) (lib.attrNames wanted);
    in
    if missing == [ ] then
      makeOverridable f given
    else
      throw "${
        if lib.isFunction file then "a function" else toString file
      } wants what nixpkgs does not have: ${toString missing}";

  makeScope =
    newScope: f:
    let
      self = f self // {
        newScope = scope: newScope (self // scope);
        callPackage = self.newScope { };
        overrideScope = overlay: makeScope newScope (extends overlay f);
        packages = f;
      };
    in
    self;

  addMetaAttrs = more: package: package // { meta = package.meta or { } // more; };
  isDerivation = value: value.type or null == "derivation";
  getName =
    package: if lib.isString package then package else package.pname or (builtins.parseDrvName package.name).name;
  getOutput = output: package: package.${output} or package.out or package;
  getBin = getOutput "bin";
  getLib = getOutput "lib";
  getExe =
    package:
    getExe' package (
      package.meta.mainProgram or (throw "getExe: ${package.name} has no meta.mainProgram")
    );
  getExe' = package: name: "${getBin package}/bin/${name}";
  makeBinPath = lib.concatMapStringsSep ":" (package: "${getBin package}/bin");
  makeLibraryPath = lib.concatMapStringsSep ":" (package: "${getLib package}/lib");
}
