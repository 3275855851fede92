"""A stand-in for NVIDIA's trtllm-serve: its command line, its settings, its routes, its quirks.

It generates nothing: the same few tokens answer every request and name the model. It refuses what
the real one refuses, with its messages.
"""
