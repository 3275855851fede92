# NVIDIA's container images with Triton and TensorRT-LLM: pure data. A hash is that of the unpacked
# file system, as others have published it; here no image was ever downloaded.
{
  # TensorRT-LLM 1.1.0, CUDA 13.0.2
  "25.12" = {
    reference = "nvcr.io/nvidia/tritonserver:25.12-trtllm-python-py3";
    hashes = {
      x86_64-linux = "sha256-WvHGKXzu1oJk8RRorIDaF9Ii6AuK6eAD7SIWRxs0vkk=";
      aarch64-linux = "sha256-9hMiF7lZKLI64EMPQsb924VDG6L3wsTESmEVd85zAAU=";
    };
  };
  # TensorRT-LLM 1.2.1, CUDA 13.1: needs driver 590 or newer.
  "26.06" = {
    reference = "nvcr.io/nvidia/tritonserver:26.06-trtllm-python-py3";
    hashes = {
      x86_64-linux = "sha256-cAJ5w2+7RWmVhyDCO+LQTha/tBbjwzCXuRrz0uh5xQM=";
      aarch64-linux = "sha256-7FLyt80KGb5nkK9bXtZBnGC4fUAKs11pp/5Fg1qJNjM=";
    };
  };
}
