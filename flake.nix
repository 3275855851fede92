{
  description = "From an NVFP4 checkpoint to an OpenAI endpoint, reproducibly";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      eachSystem =
        f:
        nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
          system:
          f (
            import ./nix/context.nix {
              inherit nixpkgs system;
              overlay = self.overlays.default;
            }
          )
        );
      scopes = eachSystem (pkgs: pkgs.enginixPackages);
    in
    {
      overlays.default = import ./nix/overlay.nix;
      nixosModules.default = import ./nix/modules scopes;
      homeModules.default = import ./nix/modules/home-manager.nix scopes;

      packages = eachSystem (import ./nix/packages/outputs.nix);
      legacyPackages = eachSystem (import ./nix/packages/by-dotted-name.nix);
      devShells = eachSystem (import ./nix/dev-shells.nix);
      checks = eachSystem (import ./nix/checks);
      formatter = eachSystem (import ./nix/formatter.nix);
    };
}
