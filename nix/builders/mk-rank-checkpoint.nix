# The first half of an engine for TensorRT-LLM, by itself: when the second half fails, it is there.
{
  lib,
  runCommand,
  enginix-builder,
  kinds,
}:
{
  model,
  variant,
  # What the variant and the revision add to the name.
  suffix,
  checkpoint,
  runtime,
}:
runCommand "${model.name}-rank-checkpoint${suffix}"
  {
    nativeBuildInputs = [ enginix-builder ];
    env = {
      ${kinds.${model.kind}.variable} = "${runtime}";
      PYTHONDONTWRITEBYTECODE = "1";
    };
    # TensorRT-LLM loads the GPU's driver, which no sandbox has.
    __noChroot = true;
    meta.description = "Weights of ${model.title} as TensorRT-LLM's ranks load them";
  }
  ''
    export HOME=$NIX_BUILD_TOP
    enginix engine convert ${model.name} --checkpoint ${checkpoint} \
      --tensor-parallel ${toString variant.tensor_parallel} \
      --work-dir "$NIX_BUILD_TOP/work" --out "$out"
  ''
