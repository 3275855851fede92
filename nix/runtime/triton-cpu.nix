# The runtime of the kind triton-cpu: what `enginix setup triton-cpu` makes with pip, from the same
# wheels, as one root with bin/python and lib/python3.X/site-packages.
{
  lib,
  runtime-python,
  numpy1,
  nvidia-pytriton,
  tokenizers-wheel,
  xllamacpp,
}:
lib.addMetaAttrs { description = "Triton and llama.cpp for CPUs, as enginix runs them"; } (
  runtime-python.withPackages (_: [
    numpy1
    nvidia-pytriton
    tokenizers-wheel
    xllamacpp
  ])
)
