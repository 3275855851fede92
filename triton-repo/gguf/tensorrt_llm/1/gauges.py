"""Exports the model's load on Triton's metrics page, under TensorRT-LLM's names."""

from __future__ import annotations

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
        """Take them off the page; without this Triton's stub crashes when the interpreter ends.

        An object that is deleted asks Triton to forget it, and by then the stub has let go of the
        memory that it shares with Triton. A family must outlive its metrics.
        """
        del self._gauges
        del self._family
