# runCommand, writeShellApplication and their kin, as far as the flake uses them.
{
  self,
  lib,
  host,
}:
{
  runCommand =
    name: environment: buildCommand:
    self.stdenvNoCC.mkDerivation (
      environment
      // {
        inherit name buildCommand;
        passAsFile = [ "buildCommand" ] ++ environment.passAsFile or [ ];
      }
    );

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      checkPhase ? "",
      meta ? { },
      passthru ? { },
    }:
    self.runCommand name
      {
        inherit text meta passthru;
        passAsFile = [ "text" ];
      }
      ''
        target=$out${destination}
        mkdir -p "$(dirname "$target")"
        cp "$textPath" "$target"
        ${lib.optionalString executable ''chmod +x "$target"''}
        ${checkPhase}
      '';

  writeText = name: text: self.writeTextFile { inherit name text; };

  writeTextDir =
    path: text:
    self.writeTextFile {
      name = baseNameOf path;
      inherit text;
      destination = "/${path}";
    };

  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      runtimeEnv ? { },
      meta ? { },
      passthru ? { },
    }:
    self.writeTextFile {
      inherit name passthru;
      executable = true;
      destination = "/bin/${name}";
      meta = meta // {
        mainProgram = name;
      };
      checkPhase = ''${self.shellcheck}/bin/shellcheck "$target"'';
      text = ''
        #!${host.bash}
        set -o errexit
        set -o nounset
        set -o pipefail
        ${lib.concatLines (
          lib.mapAttrsToList (key: value: ''
            ${lib.toShellVar key value}
            export ${key}
          '') runtimeEnv
        )}
        ${lib.optionalString (runtimeInputs != [ ]) ''export PATH="${lib.makeBinPath runtimeInputs}:$PATH"''}

        ${text}
      '';
    };

  symlinkJoin =
    {
      name,
      paths,
      passthru ? { },
      meta ? { },
    }:
    self.runCommand name { inherit meta paths passthru; } ''
      mkdir -p "$out"
      for path in $paths; do cp --recursive --symbolic-link --no-preserve=mode "$path/." "$out/"; done
    '';

  mkShellNoCC =
    {
      name ? "nix-shell",
      packages ? [ ],
      shellHook ? "",
      env ? { },
      meta ? { },
    }:
    self.stdenvNoCC.mkDerivation {
      inherit name shellHook env meta;
      nativeBuildInputs = packages;
      buildCommand = "export >$out";
      passAsFile = [ "buildCommand" ];
    };
}
