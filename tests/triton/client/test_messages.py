"""Requests as Triton reads them, and responses as the protobuf library reads them."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from enginix.errors import BackendUnavailable, GenerationFailed, RequestError
from enginix.generation.request import Guide, Sampling, TokenChunk, TokenRequest
from enginix.triton.client.messages import build_request, supported
from enginix.triton.client.responses import Reader, read_chunk
from enginix.triton.client.tensor_names import TensorNames

INPUTS = """
    temperature runtime_top_k runtime_top_p runtime_min_p seed min_tokens repetition_penalty
    presence_penalty frequency_penalty embedding_bias guided_decoding_guide_type
"""
ALL = TensorNames("model", frozenset(INPUTS.split()), frozenset({"output_ids"}))
NONE = TensorNames("model", frozenset(), frozenset())
STATING = TensorNames(
    "model",
    frozenset({"return_perf_metrics"}),
    frozenset({"output_ids", "kv_cache_reused_blocks"}),
)

Tensors = dict[str, tuple[str, list[int], bytes]]


def built(
    request: TokenRequest, tensor_names: TensorNames = ALL, vocabulary: int | None = 8
) -> Tensors:
    message = service_pb2.ModelInferRequest.FromString(
        build_request(request, tensor_names, vocabulary)
    )
    return {
        tensor.name: (tensor.datatype, list(tensor.shape), raw)
        for tensor, raw in zip(message.inputs, message.raw_input_contents, strict=True)
    }


def sampled(**options: object) -> Tensors:
    return built(TokenRequest([1], 1, sampling=Sampling(**options)))  # type: ignore[arg-type]


def response(
    ids: list[int],
    *,
    final: bool = False,
    logprobs: list[float] | None = None,
    name: str = "m",
    reused: int | None = None,
    at: int = 0,
    request_id: str = "",
) -> bytes:
    """With `reused` it has the statistics that TensorRT-LLM adds to every response, as of `at`."""
    message = service_pb2.ModelStreamInferResponse()
    answer = message.infer_response
    answer.model_name = name
    answer.id = request_id
    answer.parameters["triton_final_response"].bool_param = final
    answer.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1, len(ids)])
    answer.raw_output_contents.append(struct.pack(f"<{len(ids)}i", *ids))
    if logprobs is not None:
        shape = [1, 1, len(logprobs)]
        answer.outputs.add(name="output_log_probs", datatype="FP32", shape=shape)
        answer.raw_output_contents.append(struct.pack(f"<{len(logprobs)}f", *logprobs))
    if reused is not None:
        add_statistics(answer, reused, at)
    return bytes(message.SerializeToString())


def add_statistics(answer: service_pb2.ModelInferResponse, reused: int, at: int) -> None:
    """All that TensorRT-LLM's backend sends once statistics are requested, in its order."""
    counts = {"kv_cache_alloc_new_blocks": 9, "kv_cache_reused_blocks": reused}
    counts["kv_cache_alloc_total_blocks"] = 9
    times = {"arrival_time_ns": 10**18, "first_scheduled_time_ns": 10**18 + 1}
    times |= {"first_token_time_ns": 10**18 + 2, "last_token_time_ns": 10**18 + at}
    for names, datatype, letter in ((counts, "INT32", "i"), (times, "INT64", "q")):
        for name, value in names.items():
            answer.outputs.add(name=name, datatype=datatype, shape=[1, 1])
            answer.raw_output_contents.append(struct.pack(f"<{letter}", value))
    answer.outputs.add(name="acceptance_rate", datatype="FP32", shape=[1, 1])
    answer.raw_output_contents.append(struct.pack("<f", at / 7))


def failure(text: str) -> bytes:
    return bytes(service_pb2.ModelStreamInferResponse(error_message=text).SerializeToString())


def test_options_that_are_none_are_not_sent() -> None:
    assert built(TokenRequest([5, 6], 3)).keys() == {
        "input_ids",
        "input_lengths",
        "request_output_len",
        "streaming",
    }


def test_a_prompt_is_sent_with_its_length() -> None:
    tensors = built(TokenRequest([5, 6], 3))
    assert tensors["input_ids"] == ("INT32", [1, 2], struct.pack("<2i", 5, 6))
    assert tensors["input_lengths"] == ("INT32", [1, 1], struct.pack("<i", 2))
    assert tensors["request_output_len"] == ("INT32", [1, 1], struct.pack("<i", 3))


def test_every_stop_id_is_a_word_of_one_token() -> None:
    datatype, shape, raw = built(TokenRequest([1], 1, stop_ids=[7, 9]))["stop_words_list"]
    assert (datatype, shape) == ("INT32", [1, 2, 2])
    assert struct.unpack("<4i", raw) == (7, 9, 1, 2)


def test_many_stop_ids_are_not_kept() -> None:
    tracemalloc.start()
    try:
        for first in range(8):
            stop_ids = range(1000 + first, 20_000)
            build_request(TokenRequest([1], 1, stop_ids=stop_ids), ALL, None)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


def test_a_seed_keeps_all_its_64_bits() -> None:
    assert sampled(seed=2**64 - 1)["seed"][2] == b"\xff" * 8
    assert sampled(seed=-1)["seed"][2] == b"\xff" * 8


def test_a_logit_bias_is_as_wide_as_the_vocabulary() -> None:
    datatype, shape, raw = sampled(logit_bias={2: -100.0, 7: 1.5})["embedding_bias"]
    assert (datatype, shape) == ("FP32", [1, 8])
    assert struct.unpack("<8f", raw) == (0, 0, -100, 0, 0, 0, 0, 1.5)


def test_a_guide_is_sent_as_kind_and_text() -> None:
    tensors = sampled(guide=Guide("json_schema", "{ü}"))
    assert tensors["guided_decoding_guide_type"][2] == b"\x0b\0\0\0json_schema"
    assert tensors["guided_decoding_guide"][2] == b"\x04\0\0\0{\xc3\xbc}"


@pytest.mark.parametrize("bias", [{8: 1.0}, {-1: 1.0}])
def test_a_bias_for_a_token_that_is_not_there_is_refused(bias: dict[int, float]) -> None:
    with pytest.raises(RequestError, match="expected 0 to 7"):
        sampled(logit_bias=bias)


def test_a_bias_needs_to_know_the_vocabulary() -> None:
    request = TokenRequest([1], 1, sampling=Sampling(logit_bias={1: 1.0}))
    with pytest.raises(RequestError, match="unknown vocabulary size"):
        built(request, vocabulary=None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.5),
        ("top_k", 1),
        ("top_p", 0.5),
        ("min_p", 0.5),
        ("seed", 1),
        ("repetition_penalty", 1.0),
        ("presence_penalty", 1.0),
        ("frequency_penalty", 1.0),
        ("min_tokens", 1),
        ("logit_bias", {1: 1.0}),
        ("guide", Guide("json")),
    ],
)
def test_an_option_without_a_tensor_is_refused_with_its_name(field: str, value: object) -> None:
    request = TokenRequest([1], 1, sampling=Sampling(**{field: value}))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=f"does not support {field}") as refused:
        built(request, NONE)
    assert refused.value.param == field
    assert field in supported(ALL)
    assert field not in supported(NONE)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(top_k=2**31), Sampling(temperature=1e300), Sampling(min_tokens=-(2**31) - 1)],
)
def test_a_value_out_of_its_tensors_range_is_refused(sampling: Sampling) -> None:
    with pytest.raises(RequestError, match="is out of range"):
        built(TokenRequest([1], 1, sampling=sampling))


def test_what_the_cache_held_is_asked_of_models_that_state_it() -> None:
    plain, stating = TokenRequest([1], 1), built(TokenRequest([1], 1), STATING)
    assert stating["return_perf_metrics"] == ("BOOL", [1, 1], b"\1")
    assert built(plain, NONE).keys() == stating.keys() - {"return_perf_metrics"}
    asked = service_pb2.ModelInferRequest.FromString(build_request(plain, STATING, None))
    assert [output.name for output in asked.outputs] == ["output_ids", "kv_cache_reused_blocks"]


@pytest.mark.parametrize(
    "half", [("return_perf_metrics", "output_ids"), ("stop", "kv_cache_reused_blocks")]
)
def test_a_model_that_has_one_half_of_it_is_not_asked(half: tuple[str, str]) -> None:
    names = TensorNames("model", frozenset(half[:1]), frozenset(half[1:]))
    message = build_request(TokenRequest([1], 1), names, None)
    assert b"kv_cache" not in message
    assert b"perf_metrics" not in message


def test_a_token_id_out_of_range_is_refused() -> None:
    with pytest.raises(RequestError, match="prompt_ids is out of range"):
        built(TokenRequest([2**31], 1))


def test_ids_flag_and_log_probabilities_are_read() -> None:
    message = response([4, -5], final=True, logprobs=[-0.5, -1.0])
    assert read_chunk(message) == TokenChunk((4, -5), (-0.5, -1.0), True)


def test_other_tensors_than_those_requested_are_ignored_whatever_their_type() -> None:
    message = response([4], reused=3, at=5)
    assert read_chunk(message) == TokenChunk((4,), reused_blocks=3)


def test_only_the_first_message_of_a_response_needs_its_statistics_read() -> None:
    all_ = [response([token], reused=3, at=token) for token in (7, 0, -1, 1_000_000)]
    reader = Reader()
    first, *others = reader.read(all_)
    assert first == TokenChunk((7,), reused_blocks=3)
    assert others == [TokenChunk((token,)) for token in (0, -1, 1_000_000)]


def test_statistics_that_come_once_do_not_hold_up_the_messages_after_them() -> None:
    reader = Reader()
    (first,) = reader.read([response([7], reused=3)])
    assert first.reused_blocks == 3
    assert reader.read([response([8]), response([9])]) == [TokenChunk((8,)), TokenChunk((9,))]
    assert len(reader._known) == 2


def test_an_error_text_that_says_not_now_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="is not healthy"):
        read_chunk(failure("Stub process 'tensorrt_llm_0_0' is not healthy."))


def test_any_other_error_text_is_a_failed_generation() -> None:
    with pytest.raises(GenerationFailed, match="CUDA error"):
        read_chunk(failure("CUDA error: out of memory"))


def test_a_tensor_without_its_bytes_is_not_taken_for_no_tokens() -> None:
    message = service_pb2.ModelStreamInferResponse.FromString(response([1, 2]))
    message.infer_response.raw_output_contents[0] = b""
    with pytest.raises(GenerationFailed, match="numpy < 2"):
        read_chunk(message.SerializeToString())


def test_garbage_is_a_failed_generation() -> None:
    with pytest.raises(GenerationFailed, match="not a ModelStreamInferResponse"):
        read_chunk(b"\x0a\xff\xff")


def test_chunks_before_an_error_are_read_first() -> None:
    reader = Reader()
    assert reader.read([response([1]), failure("broken"), response([2])]) == [TokenChunk((1,))]
    assert isinstance(reader.failure, GenerationFailed)


contents = st.fixed_dictionaries(
    {
        "ids": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
        "final": st.booleans(),
        "logprobs": st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=3),
        "name": st.sampled_from(["m", "n", "model\x32\x04\x01\x00\x00\x00"]),
        "reused": st.none() | st.integers(0, 2),
        "at": st.integers(0, 2**31),
    }
)
messages = contents.map(lambda content: response(**content))


@given(st.lists(messages, max_size=12), st.integers(1, 5))
def test_the_fast_path_reads_what_protobuf_reads(all_: list[bytes], batch: int) -> None:
    reader = Reader()
    read = [reader.read(all_[start : start + batch]) for start in range(0, len(all_), batch)]
    found = [chunk for chunks in read for chunk in chunks]
    expected = [read_chunk(one) for one in all_]
    # Only the first chunk's statistics are needed.
    assert found[:1] == expected[:1]
    assert [one._replace(reused_blocks=None) for one in found] == [
        one._replace(reused_blocks=None) for one in expected
    ]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=50))
def test_a_plain_answer_is_read_right_to_its_last_token(ids: list[int]) -> None:
    all_ = [response([token], final=place == len(ids) - 1) for place, token in enumerate(ids)]
    chunks = Reader().read(all_)
    assert [chunk.ids[0] for chunk in chunks] == ids
    assert [chunk.final for chunk in chunks] == [False] * (len(ids) - 1) + [True]
