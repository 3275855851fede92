# The part of nixpkgs' lib that the flake uses, written from its documentation.
let
  lib = {
    inherit (builtins)
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      elemAt
      filter
      foldl'
      functionArgs
      hasAttr
      head
      isAttrs
      isBool
      isFunction
      isInt
      isList
      isString
      length
      listToAttrs
      map
      mapAttrs
      match
      removeAttrs
      replaceStrings
      stringLength
      substring
      tail
      ;
  }
  // import ./values.nix lib
  // import ./customisation.nix lib
  // {
    fileset = import ./fileset.nix lib;
    modules = import ./modules.nix lib;
    inherit (lib.modules)
      evalModules
      literalExpression
      mkEnableOption
      mkIf
      mkMerge
      mkOption
      ;
    types = import ./types.nix lib;
    licenses = {
      asl20 = {
        spdxId = "Apache-2.0";
        free = true;
      };
      bsd3 = {
        spdxId = "BSD-3-Clause";
        free = true;
      };
      mit = {
        spdxId = "MIT";
        free = true;
      };
      mpl20 = {
        spdxId = "MPL-2.0";
        free = true;
      };
      unfree = {
        shortName = "unfree";
        free = false;
      };
    };
    fetchers.proxyImpureEnvVars = [
      "http_proxy"
      "https_proxy"
      "no_proxy"
    ];
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    sourceTypes = lib.genAttrs [ "binaryNativeCode" "fromSource" ] (shortName: { inherit shortName; });
  };
in
lib
