# An engine in the store: what `enginix engine build` makes of a checkpoint, and only that.
{
  lib,
  runCommand,
  enginix,
  triton-cpu-runtime,
}:
lib.makeOverridable (
  {
    # A catalogue file's content with its name.
    model,
    # One of the model's variants, and what it adds to the name.
    variant,
    suffix ? "",
    checkpoint,
    # Answers the manifest's checks while building.
    runtime ? triton-cpu-runtime,
  }:
  runCommand "${model.name}-engine${suffix}"
    {
      nativeBuildInputs = [ enginix ];
      env = {
        ENGINIX_RUNTIME_TRITON_CPU = "${runtime}";
        # As root and without a sandbox, Python would write its caches into other store paths.
        PYTHONDONTWRITEBYTECODE = "1";
      };
      passthru = { inherit checkpoint runtime; };
      meta.description = "Engine of ${model.title}";
    }
    ''
      enginix engine build ${model.name} --checkpoint ${checkpoint} \
        --tensor-parallel ${toString variant.tensor_parallel} --out "$out"
    ''
)
