# A file that `enginix COMMAND render` writes, alone in a folder, as Grafana and Prometheus want it.
{ runCommand, enginix }:
{
  name,
  command,
  file,
  description,
}:
runCommand name
  {
    nativeBuildInputs = [ enginix ];
    meta = { inherit description; };
  }
  ''
    enginix ${command} render --out ${file}
    mkdir "$out"
    cp ${file} "$out"
  ''
