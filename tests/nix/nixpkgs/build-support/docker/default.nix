# dockerTools: binSh, and streamLayeredImage with the arguments that nixpkgs' own has had for years.
# Others are refused, and so is what this stand-in cannot do. As in nixpkgs, the result is a script
# that writes the image to its standard output: a layer for each store path that `contents` or
# `config` refer to, and one with links to the files of `contents`.
{
  self,
  lib,
  host,
  system,
}:
let
  architectures = {
    x86_64-linux = "amd64";
    aarch64-linux = "arm64";
  };
  # Docker would ignore any other without a word.
  settings = [
    "Cmd"
    "Entrypoint"
    "Env"
    "ExposedPorts"
    "Healthcheck"
    "Labels"
    "StopSignal"
    "User"
    "Volumes"
    "WorkingDir"
  ];
in
{
  binSh = self.runCommand "bin-sh" { } "mkdir -p $out/bin; ln -s ${lib.getExe self.bashInteractive} $out/bin/sh";

  streamLayeredImage = lib.makeOverridable (
    {
      name,
      tag ? null,
      fromImage ? null,
      contents ? [ ],
      config ? { },
      architecture ? architectures.${system},
      created ? "1970-01-01T00:00:01Z",
      uid ? 0,
      gid ? 0,
      uname ? "root",
      gname ? "root",
      maxLayers ? 100,
      extraCommands ? "",
      fakeRootCommands ? "",
      enableFakechroot ? false,
      includeStorePaths ? true,
      passthru ? { },
    }:
    assert lib.assertMsg (maxLayers > 1) "the maxLayers argument must be greater than 1";
    assert lib.assertMsg (
      fromImage == null && fakeRootCommands == "" && !enableFakechroot && includeStorePaths
    ) "${name}: this stand-in has no base images, no fakeroot, and leaves no store paths out";
    assert lib.assertMsg (
      tag != null
    ) "${name}: without a tag its hash is the tag, which this stand-in does not do";
    assert lib.assertMsg (
      lib.removeAttrs config settings == { }
    ) "${name}: images know no ${toString (lib.attrNames (lib.removeAttrs config settings))}";
    let
      baseName = baseNameOf name;
      imageName = lib.toLower name;
      # A path in here is part of the image as well.
      baseJson = self.writeText "${baseName}-base.json" (
        builtins.toJSON {
          inherit config architecture created;
          os = "linux";
        }
      );
      customisationLayer = self.runCommand "${baseName}-customisation-layer" {
        paths = lib.toList contents;
        inherit extraCommands;
      } (builtins.readFile ./customisation-layer.sh);
      conf = self.runCommand "${baseName}-conf.json" {
        exportReferencesGraph = [
          "base"
          baseJson
          "contents"
          customisationLayer
        ];
        settings = builtins.toJSON {
          inherit uid gid uname gname baseJson customisationLayer maxLayers;
          repoTag = "${imageName}:${tag}";
          inherit (builtins) storeDir;
        };
        passAsFile = [ "settings" ];
      } "${host.interpreter} -I -B ${./plan_layers.py} $settingsPath base contents >$out";
    in
    self.runCommand "stream-${baseName}"
      {
        inherit imageName;
        passthru = passthru // {
          imageTag = tag;
          isExe = true;
        };
      }
      ''
        { echo "#!${host.bash}"; echo "exec ${host.interpreter} -I -B ${./stream_layered_image.py} ${conf}"; } >$out
        chmod +x $out
      ''
  );
}
