"""The C++ runtime of TensorRT Edge-LLM, as far as its HTTP server calls it: it writes one sentence.

A conversation that contains "think" is thought about, where the request allows it.
"""

from __future__ import annotations

import queue
import threading
import time
from types import SimpleNamespace
from typing import Any

ANSWER = ("The", " capital", " of", " France", " is", " Paris", ".")
THOUGHT = ("<think>", "Capitals", "</think>")
PROMPT_TOKENS, LONGEST = 7, 400
PAUSE = 0.002


class Bag:
    """Any message class: it keeps what it is given, and has None of the rest."""

    def __init__(self, *given: Any, **fields: Any) -> None:
        self.given = given
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def names(*words: str) -> SimpleNamespace:
    return SimpleNamespace(**{word: word for word in words})


FinishReason = names("NOT_FINISHED", "END_ID", "LENGTH", "CANCELLED", "ERROR", "STOP_WORDS")
ContextCacheLookupPolicy = names("USE_CACHE", "BYPASS")
ContextCacheCommitPolicy = names("INCLUDING_GENERATED_TOKENS", "PREFILL_STATE_ONLY")
GuideType = names("JSON_OBJECT", "JSON_SCHEMA", "REGEX", "EBNF", "STRUCTURAL_TAG", "CHOICE")
ShutdownMode = names("DRAIN", "CANCEL")
ToolChoiceMode = names("AUTO", "NONE", "REQUIRED", "FUNCTION")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (RuntimeError,) if name.endswith(("Error", "Refused")) else (Bag,), {})


def validate_guided_decoding_params(_: Any) -> tuple[bool, str]:
    return True, ""


class StreamChannel:
    def __init__(self) -> None:
        self.chunks: queue.Queue[Any] = queue.Queue()
        self.left = self.over = False

    @staticmethod
    def create() -> StreamChannel:
        return StreamChannel()

    def set_skip_special_tokens(self, _: bool) -> None:
        """There are none."""

    def cancel(self) -> None:
        self.left = True

    def is_finished(self) -> bool:
        return self.over

    def is_cancelled(self) -> bool:
        return self.left

    def wait_pop(self, timeout_ms: int = 0) -> Any:
        try:
            return self.chunks.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            return None

    def put(self, text: str, token: int | None, reason: str = FinishReason.NOT_FINISHED) -> None:
        self.over = reason != FinishReason.NOT_FINISHED
        self.chunks.put(
            SimpleNamespace(
                text=text,
                token_ids=[] if token is None else [token],
                prompt_token_count=PROMPT_TOKENS if token == 0 else -1,
                finished=self.over,
                reason=reason,
                logprobs=[],
            )
        )


def generate(request: Any) -> Any:
    text = " ".join(
        part.content or part.text or str(part.given)
        for message in request.requests[0].messages or ()
        for part in message.contents or ()
    )
    if len(text) > LONGEST:
        raise RuntimeError(
            f"EDGELLM_INPUT_TOO_LONG: prefill length {len(text)} exceeds engine max_input_len "
            f"{LONGEST} (rebuild engine with a larger --maxInputLen)"
        )
    words = [*(THOUGHT if request.enable_thinking else ()), *ANSWER]
    words = words[: request.max_generate_length]
    reason = FinishReason.END_ID if words[-1] == "." else FinishReason.LENGTH
    channel = (request.stream_channels or [StreamChannel()])[0]
    for number, word in enumerate(words):
        if channel.left:
            break
        time.sleep(PAUSE)
        channel.put(word, number)
    channel.put("", None, reason)
    return SimpleNamespace(
        output_texts=["".join(words)],
        output_ids=[[*range(len(words))]],
        prompt_token_counts=[PROMPT_TOKENS],
        finish_reasons=[reason],
        logprobs=[],
    )


class LLMRuntime:
    def __init__(self, *given: Any, **_: Any) -> None:
        self.given = given

    def capture_decoding_cuda_graph(self) -> bool:
        return True

    def has_draft_model(self) -> bool:
        return False

    def handle_request(self, request: Any) -> Any:
        return generate(request)

    def count_prompt_tokens(self, _: Any) -> list[int]:
        return [PROMPT_TOKENS]

    def get_context_cache_metrics(self) -> Any:
        return Bag()


class Handle:
    def __init__(self, request: Any) -> None:
        self._request, self._result, self._error = request, None, None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = generate(self._request)
        except RuntimeError as error:
            self._error = error
            for channel in self._request.stream_channels or ():
                channel.put("", None, FinishReason.ERROR)

    def cancel(self) -> None:
        for channel in self._request.stream_channels or ():
            channel.cancel()

    def ready(self) -> bool:
        return not self._thread.is_alive()

    def get(self) -> Any:
        self._thread.join()
        if self._error:
            raise self._error
        return self._result


class RequestEngine:
    queued = resident = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        """One thread for each request."""

    def submit(self, request: Any) -> Handle:
        return Handle(request)

    def count_prompt_tokens(self, _: Any) -> list[int]:
        return [PROMPT_TOKENS]

    def shutdown(self, _: Any) -> None:
        """Its threads end with the process."""

    def metrics(self) -> Any:
        return Bag()
