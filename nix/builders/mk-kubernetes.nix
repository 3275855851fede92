# `k8s-<model>[-tpN]`: the Kubernetes objects that serve one variant, as a kustomize folder.
{
  lib,
  runCommand,
  enginix,
}:
{
  # A catalogue file's content with its name, one of its variants, and what that adds to the name.
  model,
  variant,
  suffix,
}:
let
  arguments = [
    model.name
    "--tp=${toString variant.tensor_parallel}"
    # The store's own folder is not writable everywhere.
    "--out=objects"
  ];
in
runCommand "k8s-${model.name}${suffix}"
  {
    nativeBuildInputs = [ enginix ];
    meta.description = "Kubernetes objects that serve ${model.title}";
  }
  ''
    enginix kubernetes render ${lib.escapeShellArgs arguments}
    cp --recursive objects "$out"
  ''
