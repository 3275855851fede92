# The build side of enginix alone, for builders: what serves engines can change without any engine
# being built, or any checkpoint being fetched, again. The two sides never import each other.
{ lib, enginix }:
lib.addMetaAttrs { description = "The build side of enginix, as builders run it"; } (
  enginix.override {
    without = [
      ../../python/enginix/backends
      ../../python/enginix/deploy
      ../../python/enginix/doctor
      ../../python/enginix/gateway
      ../../python/enginix/serve
    ];
  }
)
