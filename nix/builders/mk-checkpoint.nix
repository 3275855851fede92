# A model's checkpoint in the store; `model` is a catalogue file's content with its name.
#
# With a locked hash (`enginix checkpoint lock`) the download is a fixed-output derivation: it works
# in the sandbox and is never repeated for the same files. Without one it is impure: it has to run
# outside, says so in its log, and its output records which commit it is.
{
  lib,
  runCommand,
  cacert,
  enginix-builder,
}:
model:
let
  inherit (model) source;
  meta.description = "Checkpoint of ${model.title}";

  shipped = runCommand "${model.name}-checkpoint" { inherit meta; } ''
    cp --recursive --no-preserve=mode ${model.catalog + "/${source.directory}"} "$out"
  '';

  # A store path is found by its name and hash alone: without the revision in its name, another
  # revision with a forgotten new hash would silently be the old files.
  revision = source.revision or "unpinned";
  arguments = [
    source.repo
  ]
  ++ lib.optional (source ? revision) "--revision=${source.revision}"
  # The hash is of the files alone.
  ++ lib.optional (source ? nar_hash) "--files-only";
  lock =
    if source ? nar_hash then
      {
        outputHashMode = "recursive";
        outputHash = source.nar_hash;
        impureEnvVars = lib.fetchers.proxyImpureEnvVars ++ [
          "HF_ENDPOINT"
          "HF_TOKEN"
        ];
      }
    else
      { __noChroot = true; };

  fetched =
    runCommand "${model.name}-checkpoint-${lib.substring 0 8 revision}"
      (
        lock
        // {
          inherit meta;
          passthru.buildsAnywhere = false;
          nativeBuildInputs = [ enginix-builder ];
          # What is not in `env` does not reach programs where nixpkgs has structured attributes.
          env = {
            SSL_CERT_FILE = "${cacert}/etc/ssl/certs/ca-bundle.crt";
            PYTHONDONTWRITEBYTECODE = "1";
          };
        }
      )
      ''
        export HOME=$NIX_BUILD_TOP
        ${lib.optionalString (!source ? nar_hash) ''
          # Nix hands variables of the caller to fixed-output derivations only.
          echo "${model.name}-checkpoint has no locked hash: it is fetched outside the sandbox and" \
            "without HF_TOKEN; lock it with \`enginix checkpoint lock ${model.name}\`" >&2
        ''}
        enginix checkpoint fetch ${lib.escapeShellArgs arguments} --out "$out"
      '';
in
if source ? directory then
  shipped
else if source ? nar_hash && !source ? revision then
  throw "${model.name}: nar_hash without a revision; `enginix checkpoint lock` writes both"
else
  fetched
