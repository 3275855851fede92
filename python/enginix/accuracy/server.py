"""Asks a server of the OpenAI API for tokens, log probabilities of a prompt, and greedy answers.

The prompts are token ids, so that each server is asked for the very same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import httpx

from enginix.accuracy.windows import Window
from enginix.errors import BackendError, BackendUnavailable, CannotScore

SECONDS = 600.0
# By how much the log probability of a certain token may be above 0.
ROUNDING = 1e-3
# Statuses of a server that understands a request but does not do such a thing.
CANNOT = (400, 404, 405, 422, 500, 501)


class ServerTarget:
    """`url` ends in /v1, `context` is how many tokens the model reads, if that is known.

    A context manager: it keeps a connection.
    """

    def __init__(
        self, url: str, model: str, key: str | None = None, context: int | None = None
    ) -> None:
        self.name = url
        self.model = model
        # The prompt is scored by a request that generates one token.
        self.longest = context - 1 if context else None
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=SECONDS,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids of `text`, from the server's own tokenizer."""
        url = f"{self.name.removesuffix('/v1')}/tokenize"
        # vLLM and the gateway read `prompt`, llama-server `content`; each ignores the other.
        body = {
            "model": self.model,
            "prompt": text,
            "add_special_tokens": add_special_tokens,
            "content": text,
            "add_special": add_special_tokens,
        }
        response = self._post(url, body)
        ids = _json(response).get("tokens") if response.is_success else None
        if not isinstance(ids, list) or not all(type(each) is int for each in ids):
            raise BackendError(
                f"{url} answered {response.status_code}: {_reason(response)}; evaluation needs a "
                "server that tokenizes (vLLM, llama-server or the gateway of an engine): name "
                "such a server itself, without others between"
            )
        return ids

    def logprob(
        self, windows: Sequence[Window], done: Callable[[int], None]
    ) -> tuple[float, Mapping[str, str]]:
        """The sum over the windows' scored tokens; CannotScore if the server cannot do it."""
        total = 0.0
        for number, window in enumerate(windows, 1):
            total += self._score(window)
            done(number)
        return total, {}

    def _score(self, window: Window) -> float:
        body = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        response = self._complete(window.ids, body)
        if response.status_code in CANNOT:
            why = f"it answered {response.status_code}: {_reason(response)}"
            raise CannotScore(self.name, why)
        found = _choice(response).get("logprobs")
        values = found.get("token_logprobs") if isinstance(found, dict) else None
        count = len(values) if isinstance(values, list) else 0
        # The last one is of the token that it had to generate.
        if not isinstance(values, list) or count != len(window.ids) + 1:
            why = f"it gave {count} where {len(window.ids)} tokens and one more have one each"
            raise CannotScore(self.name, why)
        chosen = values[window.first : len(window.ids)]
        if not all(isinstance(each, int | float) for each in chosen):
            raise CannotScore(self.name, "it gave null for tokens of the prompt")
        if max(chosen, default=0) > ROUNDING:
            raise CannotScore(self.name, f"it gave {max(chosen):g}, expected at most 0")
        return float(sum(chosen))

    def answers(
        self, prompts: Sequence[list[int]], max_tokens: int, done: Callable[[int], None]
    ) -> list[str]:
        """The text with which the model continues each prompt greedily."""
        # A server may have other defaults, from the model's generation_config.json.
        greedy = {"temperature": 0, "repetition_penalty": 1.0}
        texts = []
        for number, ids in enumerate(prompts, 1):
            response = self._complete(ids, {"max_tokens": max_tokens, **greedy})
            if not isinstance(text := _choice(response).get("text"), str):
                raise BackendError(f"{self.name} gave no text, but {response.text[:80]!r}")
            # JSON may hold half of a surrogate pair, which UTF-8 cannot: then "?" stands for it.
            texts.append(text.encode("utf-8", "replace").decode())
            done(number)
        return texts

    def _complete(self, ids: Sequence[int], options: Mapping[str, Any]) -> httpx.Response:
        body = {"model": self.model, "prompt": list(ids), **options}
        return self._post(f"{self.name}/completions", body)

    def _post(self, url: str, body: Mapping[str, Any]) -> httpx.Response:
        try:
            return self._client.post(url, json=body)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise BackendUnavailable(f"no server answers at {url}: {why}") from None


def _choice(response: httpx.Response) -> dict[str, Any]:
    choices = _json(response).get("choices")
    if response.is_success and isinstance(choices, list) and choices:
        choice = choices[0]
        if isinstance(choice, dict):
            return choice
    raise BackendError(
        f"{response.request.url} answered {response.status_code}: {_reason(response)}; expected "
        "a completion"
    )


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reason(response: httpx.Response) -> str:
    """The message of an OpenAI error, or the beginning of the body."""
    error = _json(response).get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or response.text[:200].strip() or "no reason given")
