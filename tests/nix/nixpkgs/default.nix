# The package set: a fixed point over the overlays, as in nixpkgs. A name that is not here fails to
# evaluate, which is the point: everything listed exists in nixpkgs under the same name.
{
  system ? builtins.currentSystem,
  config ? { },
  overlays ? [ ],
}:
let
  lib = import ./lib;
  # Written by stand_in.py: the interpreter with the project's dependencies, and pip's settings.
  host = lib.importJSON ./host.json;
  # A test's own overlay comes last, as a machine's own would.
  site = lib.optional (builtins.pathExists ./site) (import ./site);
  packages =
    self:
    {
      # Not system: nixpkgs' own is an alias, which warns.
      inherit lib config;
      pkgs = self;
      newScope = scope: lib.callPackageWith (self // scope);
      callPackage = self.newScope { };
      fetchPypi = import ./build-support/fetch-pypi.nix {
        inherit
          self
          lib
          host
          system
          ;
      };
      dockerTools = import ./build-support/docker {
        inherit
          self
          lib
          host
          system
          ;
      };
      installShellFiles = import ./build-support/install-shell-files { inherit self; };
      autoPatchelfHook = import ./build-support/auto-patchelf { inherit self host; };
    }
    // import ./stdenv {
      inherit
        self
        lib
        host
        system
        config
        ;
    }
    // import ./build-support/trivial-builders.nix { inherit self lib host; }
    // import ./host-tools.nix {
      inherit
        self
        lib
        host
        system
        ;
    }
    // import ./python { inherit self lib host; };
in
lib.fix (lib.foldl' (lib.flip lib.extends) packages (overlays ++ site))
