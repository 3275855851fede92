from __future__ import annotations

from types import ModuleType

import tensorrt


def require_tensorrt() -> ModuleType:
    return tensorrt
