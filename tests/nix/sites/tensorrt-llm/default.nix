# A machine whose runtime for TensorRT-LLM is the stand-in, and whose checkpoints are one small
# random one. The flake itself knows nothing of either.
final: before: {
  enginixPackages = before.enginixPackages.overrideScope (
    _: original: {
      tensorrt-llm-runtime = final.callPackage ./runtime.nix { };
      mkCheckpoint =
        model:
        if model.source ? directory then
          original.mkCheckpoint model
        else
          final.runCommand "${model.name}-checkpoint" {
            meta.description = "A random checkpoint";
          } "cp --recursive ${./checkpoint} $out";
    }
  );
}
