# buildPythonPackage and buildPythonApplication: really build the wheel with its own build backend,
# install it, check its requirements against the given dependencies, and import it.
{
  self,
  lib,
  host,
  python,
  checked,
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
      dontCheckRuntimeDeps ? false,
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
        inherit pythonImportsCheck;
        runtimeSites = sites (checked pname (withTheirs dependencies));
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
          $interpreter -I -B $tools/check_metadata.py $out/$sitePackages $pname $version
          ${lib.optionalString (!dontCheckRuntimeDeps) "$interpreter -I -B $tools/check_requirements.py $out/$sitePackages $runtimeSites -- $relaxed"}
          $interpreter -I -S -B $tools/check_imports.py $out/$sitePackages $runtimeSites -- $pythonImportsCheck
        '';
        passthru = passthru // {
          inherit optional-dependencies dependencies isApplication;
          pythonModule = python.attribute;
        };
      }
      // lib.optionalAttrs (sourceRoot != null) { inherit sourceRoot; }
    );
in
{
  buildPythonPackage = lib.makeOverridable (build false);
  buildPythonApplication = lib.makeOverridable (build true);
}
