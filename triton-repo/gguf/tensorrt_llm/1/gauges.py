"""Exports the model's load on Triton's metrics page, under TensorRT-LLM's names."""

from __future__ import annotations

import ctypes

import triton_python_backend_utils as pb_utils
from token_engine import Load


class Gauges:
    """nv_trt_llm_request_metrics; sets changed values only, because each costs a call to Triton."""

    def __init__(self, model: str, version: str, slots: int) -> None:
        self._family = pb_utils.MetricFamily(
            name="nv_trt_llm_request_metrics",
            description="TRT LLM request metrics",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._gauges = {
            kind: self._family.Metric(
                labels={"request_type": kind, "model": model, "version": version}
            )
            for kind in ("active", "scheduled", "waiting", "max")
        }
        self._gauges["max"].set(slots)
        self._shown = Load(0, 0)

    def show(self, load: Load) -> None:
        if load.active != self._shown.active:
            # Every request that has a sequence is in the next step.
            self._gauges["active"].set(load.active)
            self._gauges["scheduled"].set(load.active)
        if load.waiting != self._shown.waiting:
            self._gauges["waiting"].set(load.waiting)
        self._shown = load

    def close(self) -> None:
        """Nothing runs any more.

        The objects are kept for ever, because one that is deleted asks Triton to forget its gauge.
        When the interpreter ends, the stub has let go of the memory for that, and crashes. Earlier,
        Triton would free what a model that was loaded meanwhile shows under the same labels, and
        that one's next value would be written into freed memory.
        """
        self.show(Load(0, 0))
        for each in (self._family, *self._gauges.values()):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
