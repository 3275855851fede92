"""Where TensorRT-LLM keeps its quantization names."""

from .mode import QuantAlgo

__all__ = ["QuantAlgo"]
