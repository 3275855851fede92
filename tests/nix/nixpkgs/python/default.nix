# python3 and its packages, and python312 without any. The interpreter of both is the host's, of
# whatever version it has; a package of nixpkgs is the distribution of that name in the environment
# the tests run in, by itself, so that a dependency the flake forgets cannot be imported.
{
  self,
  lib,
  host,
}:
let
  inherit (host) interpreter pythonVersion;
  sitePackages = "lib/python${pythonVersion}/site-packages";
  names = import ./names.nix;

  # An interpreter, called as in nixpkgs, and its package set.
  interpreterOf =
    attribute: distributions:
    let
      # As in nixpkgs, a package belongs to the interpreter it was built for. The real withPackages
      # leaves one of another interpreter out without a word.
      checked = import ./same-interpreter.nix { inherit lib attribute; };

      # A root with bin/python and lib/python3.X/site-packages that holds these packages.
      environment =
        packages:
        self.runCommand "${attribute}-${pythonVersion}-env" { passthru = about; } ''
          ${interpreter} -B ${./environment.py} $out ${
            toString (map (package: "${package}/${sitePackages}") (checked "withPackages" packages))
          }
        '';
      about = {
        inherit pythonVersion sitePackages attribute;
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
            checked
            ;
        }
        // {
          inherit python;
        };
    in
    python;

  distribution =
    name:
    self.runCommand "python-${name}" { passthru.pythonModule = "python3"; } ''
      ${interpreter} -B ${./distribution.py} ${name} "$out/${sitePackages}"
    '';
  built = lib.genAttrs names distribution;

  # nixpkgs has these, but nobody builds them: not its Hydra, hence no binary cache.
  unbuilt =
    name:
    throw "python312Packages.${name} is in no binary cache: whoever uses it compiles it, its dependencies and the tests of all of them";
in
{
  python3 = interpreterOf "python3" (
    built
    // {
      uvicorn = built.uvicorn // {
        optional-dependencies.standard = with built; [
          httptools
          python-dotenv
          pyyaml
          uvloop
          watchfiles
          websockets
        ];
      };
    }
  );
  python312 = interpreterOf "python312" (lib.genAttrs names unbuilt);
}
