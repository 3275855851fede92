# The runtime of the kind triton-cpu: what `enginix setup triton-cpu` makes with pip, from the same
# wheels, as one root with bin/python and lib/python3.X/site-packages.
{
  lib,
  python,
  numpy1,
  nvidia-pytriton,
  xllamacpp,
}:
lib.addMetaAttrs { description = "Triton and llama.cpp for CPUs, as enginix runs them"; } (
  python.withPackages (available: [
    available.tokenizers
    numpy1
    nvidia-pytriton
    xllamacpp
  ])
)
