"""Both transports against the real Triton; the model in it is a stand-in (fakes/token_model)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from statistics import median

import pytest
import pytest_asyncio
from fakes.asking import ask, ids, take
from fakes.token_triton import TokenTriton, free_ports, token_triton

from enginix.errors import (
    BackendError,
    BackendTimedOut,
    BackendUnavailable,
    GenerationFailed,
    RequestError,
)
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import (
    Guide,
    Limits,
    Sampling,
    TokenChunk,
    TokenRequest,
    TritonClient,
)

pytestmark = pytest.mark.triton

PROMPT = list(range(500, 600))
ENDLESS = TokenRequest(PROMPT, 1_000_000, request_id="delay_us=2000")

Connect = Callable[..., TritonClient]


@pytest.fixture(params=["http2", "grpc-aio"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def connect(transport: str, token_server: TokenTriton) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as clients:

        def make(
            address: str = token_server.address, model: str = "tensorrt_llm", **limits: float
        ) -> TritonClient:
            client = TritonClient(
                address, model, transport=transport, limits=Limits(**limits), vocabulary=1000
            )
            clients.push_async_callback(client.close)
            return client

        yield make


async def report(client: TritonClient) -> tuple[int, ...]:
    """(running, cancelled, tokens sent) in the model."""
    return (await ask(client, TokenRequest([1], 1, request_id="report")))[0].ids


async def seconds_until_free(client: TritonClient) -> float:
    begun = time.monotonic()
    while (await report(client))[0]:
        assert time.monotonic() - begun < 5, "the model still generates"
    return time.monotonic() - begun


async def test_every_token_comes_in_its_order(connect: Connect) -> None:
    assert await ids(connect(), TokenRequest(PROMPT, 250)) == (PROMPT * 3)[:250]


async def test_only_the_last_chunk_is_final(connect: Connect) -> None:
    chunks = await ask(connect(), TokenRequest(PROMPT, 20))
    assert [chunk.final for chunk in chunks] == [False] * 19 + [True]


async def test_a_response_of_several_tokens_is_one_chunk(connect: Connect) -> None:
    chunks = await ask(connect(), TokenRequest(PROMPT, 10, request_id="tokens=4"))
    assert [len(chunk.ids) for chunk in chunks] == [4, 4, 2]


async def test_an_end_that_comes_by_itself_ends_the_answer(connect: Connect) -> None:
    chunks = await ask(connect(), TokenRequest(PROMPT, 3, request_id="split_final=1"))
    assert chunks[-1] == TokenChunk((), None, final=True)
    assert len(chunks) == 4


async def test_log_probabilities_come_with_their_tokens(connect: Connect) -> None:
    chunks = await ask(connect(), TokenRequest(PROMPT, 3, logprobs=True))
    assert [chunk.logprobs for chunk in chunks] == [(-0.25,), (-0.5,), (-0.75,)]


async def test_end_and_stop_ids_end_the_answer_and_are_not_part_of_it(connect: Connect) -> None:
    client = connect()
    assert await ids(client, TokenRequest(PROMPT, 50, end_id=503)) == [500, 501, 502]
    assert await ids(client, TokenRequest(PROMPT, 50, stop_ids=[580, 502])) == [500, 501]


async def test_every_sampling_option_reaches_the_model(connect: Connect) -> None:
    sampling = Sampling(
        temperature=0.5,
        top_k=4,
        top_p=0.9,
        min_p=0.1,
        seed=7,
        repetition_penalty=1.1,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        min_tokens=2,
        logit_bias={3: 1.0},
        guide=Guide("json"),
    )
    assert await ids(connect(), TokenRequest(PROMPT, 2, sampling=sampling)) == [507, 508]


async def test_a_negative_seed_is_taken(connect: Connect) -> None:
    assert len(await ids(connect(), TokenRequest(PROMPT, 2, sampling=Sampling(seed=-1)))) == 2


async def test_an_older_model_gets_the_seed_under_its_old_name(connect: Connect) -> None:
    request = TokenRequest(PROMPT, 2, sampling=Sampling(seed=7, min_tokens=1))
    assert await ids(connect(model="older"), request) == [507, 508]


async def test_an_option_the_model_has_no_tensor_for_is_refused_by_name(connect: Connect) -> None:
    client = connect(model="older")
    with pytest.raises(RequestError, match="does not support min_p") as refused:
        await ask(client, TokenRequest(PROMPT, 2, sampling=Sampling(min_p=0.1)))
    assert refused.value.param == "min_p"
    assert "min_p" not in await client.supported()


async def test_a_prompt_larger_than_every_window_arrives_complete(connect: Connect) -> None:
    prompt = list(range(300_000))
    assert await ids(connect(), TokenRequest(prompt, 5, request_id="tokens=5")) == prompt[:5]


async def test_a_failure_amid_the_answer_comes_after_the_tokens_before_it(
    connect: Connect,
) -> None:
    seen: list[int] = []
    with pytest.raises(GenerationFailed, match="illegal memory access"):
        await take(connect(), TokenRequest(PROMPT, 50, request_id="fail_at=3"), seen)
    assert seen == PROMPT[:3]


async def test_a_refusal_of_the_model_keeps_its_message(connect: Connect) -> None:
    with pytest.raises(GenerationFailed, match="request_output_len"):
        await ask(connect(), TokenRequest(PROMPT, -1))


async def test_a_number_out_of_a_tensors_range_is_a_request_error(connect: Connect) -> None:
    with pytest.raises(RequestError, match="request_output_len is out of range"):
        await ask(connect(), TokenRequest(PROMPT, 2**31))


async def test_a_model_that_is_not_there_is_unavailable(connect: Connect) -> None:
    with pytest.raises(BackendUnavailable, match="unknown model: 'nope'"):
        await ask(connect(model="nope"), TokenRequest(PROMPT, 1))


async def test_a_port_without_a_listener_is_reported_with_its_address(connect: Connect) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(BackendUnavailable, match=f"no Triton at {address}: Connection refused"):
        await ask(connect(address), TokenRequest(PROMPT, 1))


async def test_a_first_token_that_is_late_times_out_and_frees_the_slot(connect: Connect) -> None:
    client = connect(first_token=0.2)
    with pytest.raises(BackendTimedOut, match=r"within 0\.2 s"):
        await ask(client, TokenRequest(PROMPT, 5, request_id="first_delay_us=60000000"))
    await seconds_until_free(client)


async def test_a_next_token_that_is_late_times_out_after_the_ones_before(connect: Connect) -> None:
    seen: list[int] = []
    request = TokenRequest(PROMPT, 5, request_id="first_delay_us=1000;delay_us=60000000")
    with pytest.raises(BackendTimedOut):
        await take(connect(next_token=0.2), request, seen)
    assert seen == PROMPT[:1]


async def test_a_steady_answer_may_take_longer_than_any_deadline(connect: Connect) -> None:
    request = TokenRequest(PROMPT, 50, request_id="delay_us=50000")
    assert len(await ids(connect(first_token=2.0, next_token=2.0), request)) == 50


async def test_a_generator_that_is_never_iterated_sends_nothing(connect: Connect) -> None:
    client = connect()
    before = (await report(client))[2]
    await client.generate(ENDLESS).aclose()
    assert (await report(client))[2] == before


async def test_leaving_before_the_first_token_frees_the_slot(connect: Connect) -> None:
    client = connect()
    waiting = TokenRequest(PROMPT, 5, request_id="first_delay_us=60000000")
    task = asyncio.create_task(ask(client, waiting))
    while not (await report(client))[0]:
        pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await seconds_until_free(client) < 1


async def test_leaving_amid_the_answer_is_seen_in_the_model_within_100_ms(
    connect: Connect,
) -> None:
    client = connect()
    taken = []
    for _ in range(5):
        async with aclosing(client.generate(ENDLESS)) as answer:
            await anext(answer)
        taken.append(await seconds_until_free(client))
    assert median(taken) < 0.1


async def test_cancelling_the_task_that_gathers_an_answer_frees_the_slot(connect: Connect) -> None:
    client = connect()
    sent = (await report(client))[2]
    task = asyncio.create_task(ask(client, ENDLESS))
    while (await report(client))[2] <= sent:
        pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await seconds_until_free(client) < 1


async def test_one_that_leaves_does_not_disturb_the_others(connect: Connect) -> None:
    client = connect()
    staying = [
        asyncio.create_task(ids(client, TokenRequest(PROMPT, 100, request_id="delay_us=1000")))
        for _ in range(5)
    ]
    leaving = [asyncio.create_task(ask(client, ENDLESS)) for _ in range(5)]
    await report(client)
    for task in leaving:
        task.cancel()
    assert await asyncio.gather(*staying) == [PROMPT] * 5


async def test_a_thousand_streams_are_all_right(connect: Connect) -> None:
    client = connect()
    requests = [
        TokenRequest(PROMPT, 10, sampling=Sampling(seed=number % 100)) for number in range(1000)
    ]
    answers = await asyncio.gather(*(ids(client, request) for request in requests))
    assert all(answer == (PROMPT * 2)[number % 100 :][:10] for number, answer in enumerate(answers))


async def test_a_reader_that_pauses_misses_nothing(connect: Connect) -> None:
    client = connect()
    async with aclosing(client.generate(TokenRequest(PROMPT, 5000))) as answer:
        seen = len(await anext(answer))
        while (await report(client))[0]:
            pass
        async for chunks in answer:
            seen += len(chunks)
    assert seen == 5000


async def test_a_long_silence_is_not_taken_for_a_dead_server(connect: Connect) -> None:
    # Dozens of questions: with PINGs, the server ends the connection at the fourth.
    client = connect(silence=0.02, patience=5)
    request = TokenRequest(PROMPT, 2, request_id="first_delay_us=1500000")
    assert await ids(client, request) == PROMPT[:2]


async def test_a_client_generates_on_uvloop_too(transport: str, token_server: TokenTriton) -> None:
    import uvloop

    async def generate() -> list[int]:
        client = TritonClient(token_server.address, transport=transport)
        async with aclosing(client.generate(ENDLESS)) as answer:
            await anext(answer)
        try:
            return await ids(client, TokenRequest(PROMPT, 50))
        finally:
            await client.close()

    assert await asyncio.to_thread(uvloop.run, generate()) == PROMPT[:50]


async def test_a_killed_server_ends_the_stream_and_a_new_one_is_found(
    runtime: Runtime, connect: Connect
) -> None:
    port = free_ports(1)[0]
    with token_triton(runtime, port) as server:
        client = connect(server.address)
        async with aclosing(client.generate(ENDLESS)) as answer:
            await anext(answer)
            server.kill()
            begun = time.monotonic()
            with pytest.raises(BackendUnavailable):
                async for _ in answer:
                    pass
            assert time.monotonic() - begun < 2
        with pytest.raises(BackendUnavailable):
            await ask(client, TokenRequest(PROMPT, 1))
    with token_triton(runtime, port):
        begun = time.monotonic()
        assert await eventually(client, TokenRequest(PROMPT, 3)) == PROMPT[:3]
        assert time.monotonic() - begun < 3


async def test_a_dead_model_is_unavailable_and_a_hanging_one_is_late(
    runtime: Runtime, connect: Connect
) -> None:
    with token_triton(runtime) as server:
        client = connect(server.address, next_token=0.5, first_token=5)
        for fault in ("hang_at=2", "die_at=2"):
            with pytest.raises(BackendTimedOut):
                await ask(client, TokenRequest(PROMPT, 9, request_id=fault))
        # Triton itself believes to the end that the model is ready.
        with pytest.raises(BackendUnavailable, match="is not healthy"):
            await ask(client, TokenRequest(PROMPT, 1))
        assert await client.control.ready("tensorrt_llm")


async def eventually(client: TritonClient, request: TokenRequest) -> list[int]:
    """The answer once the client has reconnected."""
    while True:
        try:
            return await ids(client, request)
        except BackendError:
            await asyncio.sleep(0.02)
