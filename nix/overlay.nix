# What this flake adds to nixpkgs: one scope. Any name in it can be replaced, and everything that
# uses the name follows: `enginixPackages.overrideScope (_: _: { tensorrt-llm-runtime = ...; })`.
final: _: {
  enginixPackages = final.lib.makeScope final.newScope (import ./packages final);
  inherit (final.enginixPackages) enginix;
}
