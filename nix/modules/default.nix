# The NixOS module with this flake's packages; imported twice, it counts once.
scopes: {
  _file = ./enginix.nix;
  key = toString ./enginix.nix;
  imports = [ (import ./enginix.nix scopes) ];
}
