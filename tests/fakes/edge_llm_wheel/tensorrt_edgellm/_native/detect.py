from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class DetectedPlatform:
    gpu_sm: int


def detect_platform() -> DetectedPlatform:
    return DetectedPlatform(int(os.environ.get("FAKE_EDGE_SM", "120")))
