# The host's programs and libraries under nixpkgs' names, by symlink: exactly those listed.
{
  self,
  lib,
  host,
  system,
}:
let
  # Not mkDerivation: that one's PATH is made of these.
  links =
    name: kind: wanted:
    derivation {
      inherit name kind wanted system;
      inherit (host) path;
      builder = host.bash;
      args = [ ./link-from-host.sh ];
    }
    // {
      meta = { };
      pname = name;
    };
in
{
  hostTools = name: tools: links name "program" tools // { meta.mainProgram = lib.head tools; };
  hostLibraries = name: libraries: links name "library" libraries;

  bash = self.hostTools "bash" [
    "bash"
    "sh"
  ];
  bashInteractive = self.bash;
  bubblewrap = self.hostTools "bubblewrap" [ "bwrap" ];
  cacert = self.runCommand "cacert" { } ''
    mkdir -p $out/etc/ssl/certs
    ln -s /etc/ssl/certs/ca-certificates.crt $out/etc/ssl/certs/ca-bundle.crt
  '';
  # No registry: a file system of two files stands for every image.
  crane = self.runCommand "crane" { meta.mainProgram = "crane"; } ''
    mkdir -p $out/bin
    { echo "#!${host.bash}"; cat ${./build-support/crane.sh}; } >$out/bin/crane
    chmod +x $out/bin/crane
  '';
  coreutils = self.hostTools "coreutils" (import ./stdenv/coreutils.nix);
  findutils = self.hostTools "findutils" [
    "find"
    "xargs"
  ];
  deadnix = self.hostTools "deadnix" [ "deadnix" ];
  nixfmt = self.hostTools "nixfmt" [ "nixfmt" ];
  ruff = self.hostTools "ruff" [ "ruff" ];
  shellcheck = self.hostTools "shellcheck" [ "shellcheck" ];
  zlib = self.hostLibraries "zlib" [ "libz.so.1" ];
}
