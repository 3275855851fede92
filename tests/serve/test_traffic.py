from __future__ import annotations

from enginix.serve.traffic import counted

METRICS = r"""
# TYPE enginix_generated_tokens_total counter
enginix_generated_tokens_total{model="demo"} 12.0
enginix_generated_tokens_total{model="a \"b\""} 3.0
enginix_stalled_requests{model="demo"} 2.0
enginix_errors_total{kind="BackendTimedOut",model="demo"} 4.0
enginix_errors_total{kind="RequestError",model="demo"} 9.0
enginix_running_requests{model="demo"} 1.0
"""


def test_what_real_requests_tell_is_read_model_by_model() -> None:
    demo = counted(METRICS, "demo")
    assert (demo.tokens, demo.stalled, demo.timed_out) == (12.0, 2.0, 4.0)
    assert counted(METRICS, r"a \"b\"").tokens == 3.0


def test_a_model_the_gateway_does_not_name_has_no_count() -> None:
    assert counted(METRICS, "other").tokens is None
