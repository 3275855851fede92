# File sets: chosen files of a folder as one store path, named "source" as in nixpkgs.
lib: {
  unions = sets: {
    chosen = lib.concatMap (set: set.chosen or [ (toString set) ]) sets;
    without = [ ];
  };
  difference = set: other: set // { without = set.without ++ other.chosen; };
  toSource =
    { root, fileset }:
    let
      inside = path: file: path == file || lib.hasPrefix "${file}/" path;
    in
    builtins.path {
      path = root;
      name = "source";
      # A folder on the way to a chosen file is kept, but not its other files.
      filter =
        path: _:
        lib.any (file: inside path file || inside file path) fileset.chosen
        && !lib.any (inside path) fileset.without;
    };
}
