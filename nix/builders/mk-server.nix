# A command of its own for `enginix` with these arguments; more can be added when it is run.
{
  lib,
  writeShellApplication,
  enginix,
}:
{
  name,
  description,
  arguments,
  environment ? { },
  # The engines and runtimes it runs.
  uses ? [ ],
}:
writeShellApplication {
  inherit name;
  runtimeInputs = [ enginix ];
  runtimeEnv = environment // {
    # The store is read-only for everybody but root, who must not write there either.
    PYTHONDONTWRITEBYTECODE = "1";
  };
  text = ''
    exec enginix ${lib.escapeShellArgs arguments} "$@"
  '';
  passthru.buildsAnywhere = lib.all (used: used.buildsAnywhere or true) uses;
  meta = {
    inherit description;
    license = lib.licenses.asl20;
    platforms = lib.platforms.linux;
  };
}
