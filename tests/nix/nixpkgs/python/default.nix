# python312 and its packages. The interpreter is the host's, of whatever version it has; a package
# of nixpkgs is the distribution of that name in the environment the tests run in, by itself, so
# that a dependency the flake forgets cannot be imported.
{
  self,
  lib,
  host,
}:
let
  inherit (host) interpreter pythonVersion;
  sitePackages = "lib/python${pythonVersion}/site-packages";

  distribution =
    name:
    self.runCommand "python-${name}" { } ''
      ${interpreter} -B ${./distribution.py} ${name} "$out/${sitePackages}"
    '';
  distributions = lib.genAttrs (import ./names.nix) distribution;

  # A root with bin/python and lib/python3.X/site-packages that holds these packages.
  environment =
    packages:
    self.runCommand "python3-${pythonVersion}-env" { passthru = about; } ''
      ${interpreter} -B ${./environment.py} $out ${toString (map (package: "${package}/${sitePackages}") packages)}
    '';
  about = {
    inherit pythonVersion sitePackages;
    pkgs = packages;
    withPackages = f: environment (f packages);
  };
  python = environment [ ];

  packages =
    distributions
    // import ./build-package.nix {
      inherit
        self
        lib
        host
        python
        ;
    }
    // {
      inherit python;
      uvicorn = distributions.uvicorn // {
        optional-dependencies.standard = with distributions; [
          httptools
          python-dotenv
          pyyaml
          uvloop
          watchfiles
          websockets
        ];
      };
    };
in
{
  python312 = python;
}
