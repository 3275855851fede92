"""Puts a machine without a GPU under the real TensorRT Edge-LLM: Ubuntu 24.04 with an sm120.

What it finds out from the driver and from shared libraries is replaced; the choice of a payload,
the builder, the cache and the HTTP server are its own.
"""

from __future__ import annotations

import sys

from tensorrt_edgellm._native import dependencies, detect

dependencies._promote_runtime = lambda _: "libnvinfer.so.10"
detect._promote_runtime = dependencies._promote_runtime
detect._platform_probe = lambda _: ("os-release", "ubuntu:24.04")
detect._cuda_device_sms = lambda: (120,)
detect._find_soname = {"cudart": "libcudart.so.13", "nvinfer": "libnvinfer.so.10"}.__getitem__
if any("tensorrt-edgellm-build" in word for word in sys.orig_argv):
    from experimental.builder.core import builder

    builder._active_cuda_compute_capability = lambda: (12, 0)
    builder.load_plugin_library = lambda _: None
if any("tensorrt-edgellm-serve" in word for word in sys.orig_argv[:2]):
    import edgellm_runtime
    from experimental.server.runtime import engine

    engine._import_runtime = lambda: edgellm_runtime
    engine._convert_tools_to_cpp = lambda *_: []
    engine._convert_tool_choice_to_cpp = lambda *_: None
