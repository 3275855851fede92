"""Traces of the gateway as users start it, with several processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import httpx
from fakes.otlp_receiver import attributes_of, otlp_receiver
from gateway.test_passthrough import upstream

from enginix.runtimes.runtime import Runtime
from tests.conftest import running_triton
from tests.end_to_end.gateway_process import models_gateway, running_gateway
from tests.oracle import tap


async def test_each_worker_sends_the_traces_of_its_requests(tmp_path: Path) -> None:
    async with upstream() as (_, url):
        models = tmp_path / "models.json"
        models.write_text(json.dumps({"models": [{"name": "ours", "url": url, "engine": "vllm"}]}))
        with otlp_receiver() as receiver:
            flags = ("--workers=2", f"--otlp-traces-endpoint={receiver.endpoint}")
            # The gateway is waited for in a thread: its models' server runs in this loop.
            running = models_gateway(models, *flags)
            gateway = await asyncio.to_thread(running.__enter__)
            # The shape of its answers is that server's.
            tap.OWN_PORTS.discard(int(gateway.url.rpartition(":")[2]))
            try:
                body = {"model": "ours", "messages": [{"role": "user", "content": "Hi"}]}
                for _ in range(20):
                    # Each on its own connection, so that every worker gets some.
                    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
                        answer = await client.post(
                            f"{gateway.base_url}/chat/completions", json=body
                        )
                        assert answer.status_code == 200
            finally:
                await asyncio.to_thread(running.__exit__, None, None, None)
        # What was not sent yet is sent when a worker ends.
        assert len(receiver.servers) == 20
        assert {attributes_of(span)["gen_ai.response.model"] for span in receiver.servers} == {
            "ours"
        }
        processes = {resource["process.pid"] for resource in receiver.resources}
        assert len(processes) == 2
        assert gateway.process.pid not in processes


def test_tritons_spans_are_part_of_the_gateways_trace(runtime: Runtime, demo_engine: Path) -> None:
    with otlp_receiver() as receiver:
        flag = f"--otlp-traces-endpoint={receiver.endpoint}"
        with (
            running_triton(demo_engine, flag) as triton,
            running_gateway(demo_engine, triton.grpc, flag) as gateway,
        ):
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
            for sampled in "01":
                told = {"traceparent": f"00-{'5' * 32}-{'7' * 16}-0{sampled}"}
                url = f"{gateway.base_url}/chat/completions"
                assert httpx.post(url, json=body, headers=told, timeout=60).is_success
            assert receiver.wait_for(1)
            (request,) = receiver.servers
            assert receiver.wait_until(lambda: len(receiver.json_spans) >= 3)
    spans = {span["name"]: span for span in receiver.json_spans}
    assert spans["InferRequest"]["parentSpanId"] == request.span_id.hex()
    assert spans["tensorrt_llm"]["parentSpanId"] == spans["InferRequest"]["spanId"]
    # Nothing of the request that is not sampled, and of the probes.
    assert len(receiver.json_spans) == 3
    assert {span["traceId"] for span in receiver.json_spans} == {"5" * 32}


def test_a_wrong_endpoint_is_a_mistake_in_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "enginix", "openai", f"--models={tmp_path / 'none'}"]
    done = subprocess.run(
        [*command, "--otlp-traces-endpoint=collector:4318"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--otlp-traces-endpoint collector:4318: expected http://HOST:4318" in done.stderr
    assert "Traceback" not in done.stderr
