# mkDerivation, with the refusals of the real one: metadata, `env`, and licences that need consent.
{
  self,
  lib,
  host,
  system,
  config,
}:
let
  checkMeta = import ./check-meta.nix { inherit lib system config; };
  # What mkDerivation itself consumes, and builders do not see.
  consumed = [
    "buildInputs"
    "env"
    "meta"
    "nativeBuildInputs"
    "passthru"
  ];

  checkedEnv =
    name: arguments:
    let
      env = arguments.env or { };
      twice = lib.filter (key: arguments ? ${key}) (lib.attrNames env);
      ofWrongType = lib.filter (
        key:
        let
          value = env.${key};
        in
        !(lib.isString value || lib.isBool value || lib.isInt value || lib.isDerivation value)
      ) (lib.attrNames env);
    in
    assert lib.assertMsg (twice == [ ]) "${name}: both in env and an argument: ${toString twice}";
    assert lib.assertMsg (ofWrongType == [ ]) "${name}: env takes text and numbers: ${toString ofWrongType}";
    env;

  mkDerivation =
    argument:
    let
      arguments = lib.toFunction argument (arguments // { finalPackage = package; });
      name = arguments.name or "${arguments.pname}-${arguments.version}";
      nativeInputs = arguments.nativeBuildInputs or [ ];
      inputs = nativeInputs ++ arguments.buildInputs or [ ];
      drv = derivation (
        lib.removeAttrs arguments consumed
        // checkedEnv name arguments
        // {
          inherit name system;
          # With structured attributes, which nixpkgs' Python packages have and all others may have,
          # programs see no others than those in `env`.
          unexported = lib.attrNames (lib.removeAttrs arguments consumed);
          builder = host.bash;
          args = [
            "-c"
            "set -euo pipefail; source $stdenv/setup; genericBuild"
          ];
          stdenv = ./.;
          # `nix develop` reads it.
          outputs = [ "out" ];
          initialPath = "${self.stdenvTools}/bin";
          nativeInputs = map lib.getBin nativeInputs;
          libraryPath = lib.makeLibraryPath inputs;
        }
      );
      package =
        assert checkMeta name (arguments.meta or { });
        drv
        // (arguments.passthru or { })
        // {
          inherit name;
          meta = arguments.meta or { };
          passthru = arguments.passthru or { };
          pname = arguments.pname or (builtins.parseDrvName name).name;
          version = arguments.version or (builtins.parseDrvName name).version;
          overrideAttrs = change: mkDerivation (arguments // lib.toFunction change arguments);
        };
    in
    package;
in
rec {
  stdenvNoCC = {
    inherit mkDerivation;
    hostPlatform = {
      inherit system;
      isLinux = true;
      isx86_64 = system == "x86_64-linux";
      isAarch64 = system == "aarch64-linux";
    };
  };
  stdenv = stdenvNoCC // {
    cc.cc.lib = self.hostLibraries "gcc-lib" [
      "libstdc++.so.6"
      "libgcc_s.so.1"
      "libgomp.so.1"
    ];
  };
  # What the real stdenv puts on every builder's PATH. Nothing else of the host is there.
  stdenvTools = self.hostTools "stdenv-tools" (
    [
      "awk"
      "bash"
      "bzip2"
      "cmp"
      "diff"
      "find"
      "grep"
      "gzip"
      "sed"
      "sh"
      "tar"
      "xargs"
      "xz"
    ]
    ++ import ./coreutils.nix
  );
}
