# The refusals of nixpkgs' check-meta: unknown keys, wrong types, unfree without consent.
{
  lib,
  system,
  config,
}:
let
  isLicense = license: lib.isAttrs license && (license ? spdxId || license ? shortName);
  types = {
    description = lib.isString;
    longDescription = lib.isString;
    homepage = lib.isString;
    license = license: lib.all isLicense (lib.toList license);
    mainProgram = lib.isString;
    platforms = lib.isList;
    sourceProvenance = lib.isList;
    broken = lib.isBool;
    priority = lib.isInt;
  };
  isFree = license: lib.all (one: one.free or true) (lib.toList license);
  mayBeUnfree = config.allowUnfreePredicate or (_: config.allowUnfree or false);
  wellFormed =
    name: meta: key:
    assert lib.assertMsg (types ? ${key}) "${name}: nixpkgs knows no meta.${key}";
    assert lib.assertMsg (types.${key} meta.${key}) "${name}: meta.${key} is of the wrong type";
    true;
in
name: meta:
assert lib.all (wellFormed name meta) (lib.attrNames meta);
assert lib.assertMsg (
  !(lib.hasSuffix "." (meta.description or ""))
) "${name}: meta.description ends with a period";
assert lib.assertMsg (isFree (meta.license or [ ]) || mayBeUnfree { inherit name; })
  "${name} has an unfree license, and config.allowUnfree does not consent";
assert lib.assertMsg (lib.elem system (meta.platforms or [ system ])) "${name} is not for ${system}";
true
