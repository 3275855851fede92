# What Nix knows of an engine kind: the runtime it is built and served in, the variable that tells
# `enginix` where that is, and whether it needs the machine's GPU.
{ triton-cpu-runtime, tensorrt-llm-runtime }:
{
  gguf = {
    runtime = triton-cpu-runtime;
    variable = "ENGINIX_RUNTIME_TRITON_CPU";
    needsGpu = false;
  };
  tensorrt-llm = {
    runtime = tensorrt-llm-runtime;
    variable = "ENGINIX_RUNTIME_TENSORRT_LLM";
    needsGpu = true;
  };
}
