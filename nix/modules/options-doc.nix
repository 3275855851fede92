# docs/nixos-options.md, from the options themselves.
{
  lib,
  writeText,
}:
let
  facts = import ./facts.nix { inherit lib; };
  options = import ./options.nix {
    inherit lib;
    inherit (facts) profiles;
  };

  # A value as somebody would write it in a configuration, on one line.
  shown =
    value:
    if value == null then
      "null"
    else if lib.isList value then
      "[ ${lib.concatMapStrings (each: "${shown each} ") value}]"
    else if lib.isAttrs value then
      "{ ${lib.concatStrings (lib.mapAttrsToList (name: each: "${name} = ${shown each}; ") value)}}"
    else
      builtins.toJSON value;
  line = what: value: "${what}: `${shown value}`";

  section =
    name: option:
    lib.concatStringsSep "\n\n" (
      [
        "## ${name}"
        (lib.removeSuffix "\n" option.description)
        (line "Default" option.default)
      ]
      ++ lib.optional (option ? example) (line "Example" option.example)
    )
    + "\n";
in
writeText "nixos-options.md" ''
  <!-- Made of nix/modules/options.nix by `nix build .#checks.x86_64-linux.nixos-options`. -->
  # The options of `services.enginix.<name>`

  Each name is a systemd service, `enginix-<name>`. [nixos.md](nixos.md) explains them with complete configurations.

  ${lib.concatStringsSep "\n" (lib.mapAttrsToList section options)}''
