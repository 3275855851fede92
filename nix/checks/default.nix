# `nix flake check`: what can be built on any machine.
pkgs: {
  inherit (pkgs.enginixPackages)
    demo
    demo-engine
    enginix
    openai-demo
    tritonserver-demo
    ;
  module = pkgs.enginixPackages.callPackage ./module.nix { };
}
