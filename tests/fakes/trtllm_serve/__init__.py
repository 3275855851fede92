"""A stand-in for NVIDIA's trtllm-serve: its command line, its settings, its routes, its quirks.

It generates nothing: the same few tokens answer everything, and say which model they are of. What
the real one refuses is refused here, with its words; what it was not asked here, it is not either.
"""
