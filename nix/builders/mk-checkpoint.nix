# A model's checkpoint in the store: `model` is a catalogue file's content with its name.
{
  lib,
  runCommand,
}:
model:
runCommand "${model.name}-checkpoint"
  {
    meta.description = "Checkpoint of ${model.title}";
  }
  ''
    cp --recursive --no-preserve=mode ${model.catalog + "/${model.source.directory}"} "$out"
  ''
