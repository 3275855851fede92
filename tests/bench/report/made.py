"""Servers and answers of known speed."""

from __future__ import annotations

from enginix.bench.answer import Answer
from enginix.bench.load import Level, Run
from enginix.bench.report.measure import Measured
from enginix.bench.report.roofline import Roofline
from enginix.bench.report.servers import Server


def server(name: str, ceiling: float | None = None) -> Server:
    return Server(
        name=name,
        url=f"http://{name}/v1",
        model="m|<b>",
        software="enginix 0.1.0",
        details="gguf, NVFP4",
        local=False,
        roofline=Roofline(ceiling, "4800 GB/s" if ceiling else "unknown: --gpu"),
    )


def answer(tokens: int, failure: str | None = None, *, usage: bool = True) -> Answer:
    """The first token after 100 ms, the others 10 ms apart."""
    arrivals = [] if failure else [0.1 + 0.01 * number for number in range(tokens)]
    return Answer(
        arrivals=arrivals,
        ended=0.1 + 0.01 * tokens,
        prompt_tokens=20 if usage else None,
        output_tokens=tokens if usage else None,
        cached_tokens=5,
        failure=failure,
    )


def measured(
    of: Server, concurrency: int, rate: float, *extra: Answer, tokens: int = 10, usage: bool = True
) -> Measured:
    """Two runs, together of this throughput, the second twice as fast as the first."""
    runs = [
        Run(Level(concurrency=concurrency), [answer(tokens, usage=usage), *extra], seconds, 0.1)
        for seconds in (tokens / rate * 4 / 3, tokens / rate * 2 / 3)
    ]
    return Measured(of, concurrency, tokens, runs, complete=True)
