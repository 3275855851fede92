# An engine in the store: what `enginix engine build` makes of a checkpoint, and only that.
#
# Any argument can be replaced: `.#qwen3-32b-engine.override { runtime = ...; }`. An engine of
# TensorRT-LLM runs on the GPU it was built for, so that is in its name, and it can be asked for
# another: `nix build .#qwen3-32b-engine.sm90`. With `.oci` behind its name it is a container image.
{
  lib,
  runCommand,
  enginix-builder,
  kinds,
  mkOci,
  mkRankCheckpoint,
}:
let
  # Name in the attribute path -> compute capability.
  gpus = {
    sm90 = "9.0";
    sm100 = "10.0";
    sm120 = "12.0";
    sm121 = "12.1";
  };

  mkEngine = lib.makeOverridable (
    {
      # A catalogue file's content with its name.
      model,
      # One of its variants, and what it adds to the name: "" or "-tp2".
      variant,
      suffix ? "",
      checkpoint,
      runtime ? kinds.${model.kind}.runtime,
      gpu ? "sm120",
    }@arguments:
    let
      kind = kinds.${model.kind};
      revision = lib.optionalString (model.source ? revision) (
        "-" + lib.substring 0 8 model.source.revision
      );
      target = lib.optionalString kind.needsGpu "-${gpu}";
      forGpu = gpu: mkEngine (arguments // { inherit gpu; });
      rankCheckpoint = mkRankCheckpoint {
        inherit
          model
          variant
          checkpoint
          runtime
          ;
        suffix = suffix + revision;
      };
      options =
        [ "--tensor-parallel=${toString variant.tensor_parallel}" ]
        ++ lib.optionals kind.needsGpu [
          "--rank-checkpoint=${rankCheckpoint}"
          "--gpu=${gpus.${gpu}}"
        ];
    in
    runCommand "${model.name}-engine${suffix}${target}${revision}"
      (
        {
          nativeBuildInputs = [ enginix-builder ];
          env = {
            ${kind.variable} = "${runtime}";
            # As root and without a sandbox, Python would write its caches into other store paths.
            PYTHONDONTWRITEBYTECODE = "1";
          };
          passthru = {
            inherit checkpoint model runtime;
            oci = mkOci (mkEngine arguments);
            buildsAnywhere = checkpoint.buildsAnywhere or true && !kind.needsGpu;
          }
          // lib.optionalAttrs kind.needsGpu (
            { inherit rankCheckpoint; } // lib.mapAttrs (gpu: _: forGpu gpu) gpus
          );
          meta.description = "Engine of ${model.title}";
        }
        // lib.optionalAttrs kind.needsGpu { __noChroot = true; }
      )
      ''
        export HOME=$NIX_BUILD_TOP
        enginix engine build ${model.name} --checkpoint ${checkpoint} ${lib.escapeShellArgs options} \
          --work-dir "$NIX_BUILD_TOP/work" --out "$out"
      ''
  );
in
mkEngine
