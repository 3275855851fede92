# fetchPypi: nixpkgs' arguments and file names; the file itself comes from this machine's pip, and
# nix compares its hash. An argument or a file name that PyPI would not know fails here too.
{
  self,
  lib,
  host,
  system,
}:
lib.makeOverridable (
  {
    pname,
    version,
    hash,
    format ? "setuptools",
    dist ? "py2.py3",
    python ? "py2.py3",
    abi ? "none",
    platform ? "any",
  }:
  assert lib.assertMsg (format == "wheel") "fetchPypi: this stand-in fetches wheels only";
  assert lib.assertMsg (lib.hasPrefix "sha256-" hash) "fetchPypi: expected an SRI hash, got ${hash}";
  derivation {
    name = "${pname}-${version}-${python}-${abi}-${platform}.whl";
    inherit pname version platform dist system;
    inherit (host) home interpreter;
    pythonTag = python;
    abiTag = abi;
    builder = host.bash;
    args = [ ./fetch-pypi.sh ];
    outputHash = hash;
    outputHashMode = "flat";
    # Where pip looks, and how it gets there, is this machine's business.
    impureEnvVars = host.pipVariables;
    PATH = "${self.stdenvTools}/bin";
  }
  // {
    passthru = { };
  }
)
