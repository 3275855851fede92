# `<engine>.oci`: the engine as an OCI image layout, which Kubernetes mounts as a volume.
{ runCommand, enginix-builder }:
engine:
runCommand "${engine.name}-oci"
  {
    nativeBuildInputs = [ enginix-builder ];
    env.PYTHONDONTWRITEBYTECODE = "1";
    passthru.buildsAnywhere = engine.buildsAnywhere;
    meta.description = "OCI image of the engine of ${engine.model.title}";
  }
  ''
    export HOME=$NIX_BUILD_TOP
    enginix engine oci ${engine} --out "$out"
  ''
