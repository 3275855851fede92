# buildPythonPackage and buildPythonApplication: really build the wheel with its own build backend,
# install it, check its requirements against the given dependencies, and import it.
{
  self,
  lib,
  host,
  python,
}:
let
  inherit (python) sitePackages;
  sites = lib.concatMapStringsSep " " (package: "${package}/${sitePackages}");
  withTheirs = lib.concatMap (package: [ package ] ++ withTheirs (package.dependencies or [ ]));

  build =
    isApplication:
    {
      pname,
      version,
      src,
      pyproject ? null,
      format ? null,
      sourceRoot ? null,
      build-system ? [ ],
      dependencies ? [ ],
      optional-dependencies ? { },
      nativeBuildInputs ? [ ],
      buildInputs ? [ ],
      pythonImportsCheck ? [ ],
      pythonRelaxDeps ? [ ],
      makeWrapperArgs ? [ ],
      autoPatchelfIgnoreMissingDeps ? [ ],
      dontStrip ? false,
      postInstall ? "",
      env ? { },
      meta ? { },
      passthru ? { },
    }:
    assert lib.assertMsg (
      pyproject == true || format == "wheel"
    ) "${pname}: set `pyproject = true` or `format = \"wheel\"`";
    assert lib.assertMsg (
      pyproject == null || build-system != [ ]
    ) "${pname}: pyproject without a build-system";
    assert lib.assertMsg (
      format == null || pythonRelaxDeps == [ ]
    ) "${pname}: the requirements of a wheel are not checked, so none needs relaxing";
    self.stdenv.mkDerivation (
      {
        name = "python${python.pythonVersion}-${pname}-${version}";
        inherit
          pname
          version
          src
          nativeBuildInputs
          buildInputs
          makeWrapperArgs
          autoPatchelfIgnoreMissingDeps
          dontStrip
          postInstall
          env
          meta
          ;
        inherit (host) interpreter;
        inherit (python) sitePackages;
        buildSites = sites build-system;
        runtimeSites = sites (withTheirs dependencies);
        imports = pythonImportsCheck;
        relaxed = pythonRelaxDeps;
        tools = ./.;
        dontUnpack = lib.optionalString (format == "wheel") "1";
        buildPhase =
          if format == "wheel" then
            "mkdir dist && cp --no-preserve=mode $src dist/$(stripHash $src)"
          else
            "$interpreter -I -S -B $tools/build_wheel.py dist $buildSites";
        installPhase = "$interpreter -I -S -B $tools/install_wheel.py dist $out $sitePackages $runtimeSites";
        installCheckPhase = ''
          ${lib.optionalString (pyproject == true) "$interpreter -I -B $tools/check_requirements.py $out/$sitePackages $runtimeSites -- $relaxed"}
          $interpreter -I -S -B $tools/check_imports.py $out/$sitePackages $runtimeSites -- $imports
        '';
        passthru = passthru // {
          inherit optional-dependencies dependencies isApplication;
        };
      }
      // lib.optionalAttrs (sourceRoot != null) { inherit sourceRoot; }
    );
in
{
  buildPythonPackage = lib.makeOverridable (build false);
  buildPythonApplication = lib.makeOverridable (build true);
}
