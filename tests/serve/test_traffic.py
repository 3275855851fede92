from __future__ import annotations

import asyncio

from enginix.serve.traffic import Traffic, counted

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


def test_the_tokens_of_its_adapters_are_those_of_a_models_server() -> None:
    assert counted(METRICS, "demo", r"a \"b\"", "unknown").tokens == 15.0


def test_a_model_the_gateway_does_not_name_has_no_count() -> None:
    assert counted(METRICS, "other").tokens is None


async def test_each_server_of_a_model_learns_of_a_time_out_once() -> None:
    count = 1

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = f'enginix_errors_total{{kind="BackendTimedOut",model="a"}} {count}\n'
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as gateway:
        traffic = Traffic(f"http://127.0.0.1:{gateway.sockets[0].getsockname()[1]}")
        servers = ("a", "a#2")
        before = [(await traffic.seen("a", each)).suspicion for each in servers]
        count = 2
        after = [(await traffic.seen("a", each)).suspicion for each in (*servers, *servers)]
        await traffic.close()
    assert before == [False, False]
    assert after == [True, True, False, False]
