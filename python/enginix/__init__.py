"""From an NVFP4 checkpoint to an OpenAI endpoint, reproducibly."""

__version__ = "0.1.0"
