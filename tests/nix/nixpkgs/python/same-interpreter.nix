# Refuses packages that belong to another interpreter, as buildPythonPackage of nixpkgs does.
{ lib, attribute }:
name: packages:
let
  stranger = lib.filter (package: package.pythonModule or attribute != attribute) packages;
in
assert lib.assertMsg (stranger == [ ])
  "Python version mismatch in ${name} of ${attribute}: ${
    toString (map (package: "${package.name} is for ${package.pythonModule}") stranger)
  }";
packages
