# A model's checkpoint in the store: `model` is a catalogue file's content with its name.
{
  lib,
  runCommand,
  enginix,
}:
model:
runCommand "${model.name}-checkpoint"
  (
    {
      meta.description = "Checkpoint of ${model.title}";
    }
    // lib.optionalAttrs (model.source ? repo) {
      # Without a locked hash its content is not known before: only an impure build may fetch it.
      __noChroot = true;
      nativeBuildInputs = [ enginix ];
    }
  )
  (
    if model.source ? repo then
      ''
        HOME="$NIX_BUILD_TOP" enginix checkpoint fetch ${model.name} --out "$out"
      ''
    else
      ''
        cp --recursive --no-preserve=mode ${model.catalog + "/${model.source.directory}"} "$out"
      ''
  )
