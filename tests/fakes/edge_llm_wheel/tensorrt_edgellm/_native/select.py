from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tensorrt_edgellm._native import NativeRuntimeError
from tensorrt_edgellm._native.detect import DetectedPlatform


def load_manifest(path: Path) -> Any:
    return json.loads(path.read_text())


def select_variant(detected: DetectedPlatform, manifest: Any) -> Any:
    for each in manifest["variants"]:
        if each["gpu_sm"] == detected.gpu_sm:
            return each
    raise NativeRuntimeError(f"Expected one exact native payload, found 0 for {detected}.")
