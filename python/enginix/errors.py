"""Every exception this package raises on purpose.

EnginixError
├── UsageError               the command line or the environment is wrong
├── CatalogError             a catalogue file is wrong
│   └── ModelUnknown         no model has that name; suggests similar names
├── CheckpointError          a checkpoint directory is not usable
│   ├── NotACheckpoint       files are missing
│   ├── CheckpointDamaged    files are broken: truncated, inconsistent, wrong hash
│   └── CheckpointUnsupported  valid, but this engine kind cannot run it
├── DownloadError            a source could not be fetched
│   └── HubUnreachable       the hub does not answer, for any repository
├── BuildError               a build produced no engine
│   ├── ConverterMissing     no tokenizer.json, and the library that makes one is not installed
│   ├── OutputExists         the output directory exists
│   ├── SourceChanged        a source file differs from the one the engine was built from
│   ├── NotReproduced        the same build of the same files produced a different engine
│   ├── ConversionWrong      a rank checkpoint does not match the checkpoint
│   ├── BuildStalled         no output and no growing file for too long
│   ├── DeadlinePassed       still running at the deadline
│   ├── BuildCrashed         the program failed
│   ├── BuildIncomplete      the program succeeded, but files are missing or too small
│   ├── OutOfMemory          killed, as the kernel does when memory runs out
│   ├── GpuMemoryFull        TensorRT could not allocate GPU memory
│   ├── NumpyMismatch        TensorRT's bindings were built for another numpy
│   ├── DiskFull             no space left where the build writes
│   ├── NoGpu                the program found no GPU or no driver
│   └── EnginePathGone       this TensorRT-LLM can no longer build engines
├── EngineError              an engine directory does not match its manifest
│   ├── NotAnEngine          no manifest
│   ├── EngineDamaged        files are missing, truncated or changed
│   ├── QuantizationLost     the engine lacks its checkpoint's quantization
│   └── EngineMismatch       valid, but not for this machine or runtime
├── RemovalFailed            a file of enginix' own directory cannot be removed
├── RuntimeMissing           an engine kind's environment is not set up, or cannot be
├── TemplateMismatch         a model repository template and its values do not match
├── ProcessError             a child process failed
│   ├── PortTaken            another process listens on the port
│   └── StartFailed          a server ended or timed out before it was ready
├── BackendError             the backend could not generate
│   ├── BackendUnavailable   not reachable, loading, or dead: retry later
│   │   ├── SafeToRetry      failed before anything was generated: safe to retry once
│   │   ├── ReplicaMismatch  a replica serves something else than the others
│   │   └── ProtocolBroken   the peer violates HTTP/2
│   ├── BackendTimedOut      no token within the deadline
│   └── GenerationFailed     the backend answered with an error
└── RequestError             a client's request cannot be fulfilled
    ├── ModelNotFound        this server has no model of that name
    ├── PromptTooLong        prompt and answer do not fit the context
    ├── TemplateRefused      the chat template raised an error
    ├── TemplateTooSlow      the chat template exceeded its time limit
    ├── TemplateMissing      the model has no chat template
    ├── NotAuthorized        no API key, or an unknown one
    ├── ForeignOrigin        the request comes from a web page of an origin not allowed
    ├── UnknownHost          the request's host name is not this server's
    ├── NotDeclaredJson      a request that changes the server must declare its body JSON
    ├── BodyTooLarge         the body exceeds the size limit
    ├── BodyTooSlow          the body did not arrive in time
    ├── ResourceNotFound     nothing is stored under that id
    ├── RequestStopped       an operator stopped the request
    ├── NotPermitted         the API key may not do this
    ├── Overloaded           too many requests at once
    │   └── RateLimited      the API key has used up what it may use now
    └── ServerStopping       the server finishes running requests and accepts no new ones
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'did you mean A or B?'; empty if nothing is near."""
    near = get_close_matches(word, sorted(known))
    return f"did you mean {' or '.join(near)}?" if near else ""


class EnginixError(Exception):
    """Base class; the message is one sentence for people: found, expected, what to do."""


class UsageError(EnginixError):
    pass


class CatalogError(EnginixError):
    pass


class ModelUnknown(CatalogError):
    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        hint = did_you_mean(name, known) or f"known: {', '.join(known)}"
        super().__init__(f"no model named {name!r} in the catalogue; {hint} (see `enginix models`)")


class CheckpointError(EnginixError):
    pass


class NotACheckpoint(CheckpointError):
    pass


class CheckpointDamaged(CheckpointError):
    pass


class CheckpointUnsupported(CheckpointError):
    pass


class DownloadError(EnginixError):
    pass


class HubUnreachable(DownloadError):
    pass


class BuildError(EnginixError):
    pass


class OutputExists(BuildError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} exists already; name another --out, or pass --replace to build over it"
        )


class SourceChanged(BuildError):
    pass


class AccuracyLost(BuildError):
    def __init__(self, what: str, found: float, bound: float, text: str) -> None:
        super().__init__(
            f"{what} has perplexity {found:,.2f} on {text}, expected at most {bound:g}; its "
            "scales or weights may be wrong: compare it with the unquantized model, or allow more "
            "if the model never learned such texts"
        )


class WorseThanBaseline(EnginixError):
    def __init__(self, target: str, baseline: str, how: str) -> None:
        super().__init__(
            f"{target} is worse than the baseline {baseline}: {how}; if the two differ only in "
            "quantization, check its scales, exclude sensitive layers or calibrate it again"
        )


class TasksFailed(EnginixError):
    pass


class PerplexityInvalid(BuildError):
    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} computes no probabilities (NaN, or nearly zero for every token); scales or "
            "weights of the checkpoint may be wrong: compare it with the unquantized model"
        )


class NotReproduced(BuildError):
    def __init__(self, what: str, found: str | None, expected: str) -> None:
        super().__init__(
            f"{what}: found {found or 'no such file'}, the manifest records {expected}: the engine "
            "was not reproduced, and nothing was replaced; build it with the versions that its "
            "manifest names"
        )


class ConverterMissing(BuildError):
    def __init__(self, library: str, python: str) -> None:
        super().__init__(
            "the checkpoint has no tokenizer.json, and the extra that makes one is not installed "
            f"({library} is missing); install it: {python} -m pip install 'enginix[transformers]'"
        )


class ConversionWrong(BuildError):
    pass


class BuildStalled(BuildError):
    def __init__(self, program: str, silence: float, log: Path) -> None:
        super().__init__(
            f"{program} printed nothing and wrote nothing for {silence:g} s and was ended; "
            f"raise --silence-limit if this model needs longer; its log is {log}"
        )


class DeadlinePassed(BuildError):
    def __init__(self, program: str, deadline: float, log: Path) -> None:
        super().__init__(
            f"{program} was still busy after {deadline:g} s and was ended; "
            f"raise --deadline if this model needs longer; its log is {log}"
        )


class BuildCrashed(BuildError):
    def __init__(self, program: str, how: str, last_lines: str, log: Path) -> None:
        quoted = f": {last_lines}" if last_lines else ""
        super().__init__(f"{program} {how}{quoted}; its log is {log}")


class BuildIncomplete(BuildError):
    def __init__(self, program: str, what: str, log: Path) -> None:
        super().__init__(f"{program} ended, but {what}; build again; its log is {log}")


class OutOfMemory(BuildError):
    def __init__(self, program: str, needed: int, total: int, log: Path) -> None:
        super().__init__(
            f"{program} was killed (SIGKILL), as Linux does when memory runs out: it needs about "
            f"{needed / 1e9:.1f} GB, this machine has {total / 1e9:.1f} GB; add memory or swap, "
            f"or pass --workers 1; its log is {log}"
        )


class GpuMemoryFull(BuildError):
    def __init__(self, program: str, last_lines: str, log: Path) -> None:
        super().__init__(
            f"{program} ran out of GPU memory: {last_lines}; free the GPU, or build for "
            f"more ranks or smaller limits; its log is {log}"
        )


class NumpyMismatch(BuildError):
    def __init__(self, program: str, log: Path) -> None:
        super().__init__(
            f"{program}: TensorRT rejects its own weights (set_weights_name), as when its bindings "
            "were built for numpy 1 and numpy 2 is installed; install numpy<2 into that Python "
            f"and build again; its log is {log}"
        )


class DiskFull(BuildError):
    def __init__(self, program: str, directory: Path, free: int) -> None:
        super().__init__(
            f"{program} found no space left in {directory}, which has {free / 1e9:.1f} GB free "
            "now; free some, or choose another disk with --work-dir and --out"
        )


class NoGpu(BuildError):
    def __init__(self, program: str, last_lines: str) -> None:
        super().__init__(
            f"{program} found no usable NVIDIA GPU ({last_lines}); an engine is built on the "
            "kind of GPU it runs on: build on such a machine, or choose the gguf kind"
        )


class EnginePathGone(BuildError):
    def __init__(self, found: str) -> None:
        super().__init__(
            f"TensorRT-LLM {found} can no longer build engines; use a version up to 1.3.0rc20, "
            "or the llmapi kind, which needs no engine"
        )


class EngineError(EnginixError):
    pass


class NotAnEngine(EngineError):
    def __init__(
        self,
        path: Path,
        why: str = "it has no manifest.json",
        command: str = "enginix engine build NAME --out DIR",
    ) -> None:
        super().__init__(
            f"{path} is not an enginix engine: {why}; build one with `{command}` "
            "(`enginix engine verify DIR --write-manifest` adopts what trtllm-build made)"
        )


class EngineDamaged(EngineError):
    pass


def engine_damaged(reason: str) -> EngineDamaged:
    return EngineDamaged(f"{reason}; build the engine again")


class QuantizationLost(EngineError):
    pass


class EngineMismatch(EngineError):
    pass


class RemovalFailed(EnginixError):
    pass


class RuntimeMissing(EnginixError):
    pass


class TemplateMismatch(EnginixError):
    pass


class ProcessError(EnginixError):
    pass


class PortTaken(ProcessError):
    def __init__(self, port: int, flag: str, holder: str | None = None) -> None:
        by = f" by {holder}" if holder else ""
        super().__init__(f"port {port} is taken{by}; stop that, or choose another with {flag}")


class StartFailed(ProcessError):
    pass


class BackendError(EnginixError):
    pass


class CannotScore(BackendError):
    def __init__(self, server: str, why: str) -> None:
        super().__init__(
            f"{server} gives no log probabilities of a prompt, without which neither perplexity "
            f"nor tasks that choose among answers can be measured: {why}; vLLM can, and an engine "
            "of the kind gguf is evaluated here by its name or directory (docs/accuracy.md says "
            "what each server can)"
        )


class BackendUnavailable(BackendError):
    pass


class SafeToRetry(BackendUnavailable):
    pass


class ReplicaMismatch(BackendUnavailable):
    pass


class ProtocolBroken(BackendUnavailable):
    """`code` is the HTTP/2 error code sent to the peer."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class BackendTimedOut(BackendError):
    pass


class GenerationFailed(BackendError):
    pass


class RequestError(EnginixError):
    """A client's mistake: `param` names the request field, `code` is OpenAI's error code."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


NO_MODEL = (
    "no model is loaded; load one with `enginix load NAME`, POST /v1/models/load, or on the page"
)


class ModelNotFound(RequestError):
    def __init__(self, name: str, known: Collection[str], none_here: str = NO_MODEL) -> None:
        here = f"this server has {', '.join(sorted(known))}" if known else none_here
        super().__init__(
            f"no model named {name!r} here; {here}",
            param="model",
            code="model_not_found",
        )


class PromptTooLong(RequestError):
    """`counted_all`: False if counting stopped early; `words`: the message of a server that
    did not report the numbers.

    Agents shorten a conversation and continue only when they recognise the message: OpenAI's,
    or Anthropic's in `anthropic_message`.
    """

    def __init__(
        self,
        prompt_tokens: int | None,
        context: int | None,
        param: str | None,
        *,
        counted_all: bool = True,
        words: str | None = None,
    ) -> None:
        least, code = "" if counted_all else "at least ", "context_length_exceeded"
        message = words or (
            f"This model's maximum context length is {context} tokens, and the prompt has "
            f"{least}{prompt_tokens} tokens; reduce the length of the messages or of the prompt"
        )
        # Exceptions of OpenAI's client have only the message as their text, where others look for
        # the code.
        super().__init__(f"{message} ({code})", param=param, code=code)
        numbers = f"{prompt_tokens} tokens > {context} maximum"
        self.anthropic_message = f"prompt is too long: {words or numbers}"


class TemplateRefused(RequestError):
    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the model's chat template rejected these messages: {reason}",
            param="messages",
            code="invalid_messages",
        )


class TemplateTooSlow(RequestError):
    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the model's chat template ran for more than {seconds:g} s; shorten the "
            "conversation, or correct chat_template.jinja and build the engine again",
            param="messages",
            code="invalid_messages",
        )


class TemplateMissing(RequestError):
    def __init__(self) -> None:
        super().__init__(
            "this model has no chat template, so it does not accept messages; "
            "send a prompt to /v1/completions",
            param="messages",
            code="no_chat_template",
        )


class Overloaded(RequestError):
    def __init__(self, message: str, *, retry_after: float) -> None:
        # Clients parse this text and wait that long.
        super().__init__(f"{message}; please try again in {retry_after:g}s", code="overloaded")
        self.retry_after = retry_after


class RateLimited(Overloaded):
    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.code = "rate_limit_exceeded"


class NotAuthorized(RequestError):
    def __init__(self, found: str) -> None:
        super().__init__(
            f"{found}; send one of this server's API keys as "
            "`Authorization: Bearer KEY` or `X-API-Key: KEY`",
            code="invalid_api_key",
        )


class NotPermitted(RequestError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"the API key {name!r} may use models, and not change what is loaded or runs; send one "
            "that is marked `admin = true` in this server's file of keys",
            code="admin_key_required",
        )


class ForeignOrigin(RequestError):
    def __init__(self, origin: str) -> None:
        super().__init__(
            f"a web page from {origin[:80]!r} may not send requests; to allow it, start the "
            "gateway with --cors-origin and the page's origin",
            code="foreign_origin",
        )


class UnknownHost(RequestError):
    def __init__(self, host: str) -> None:
        super().__init__(
            f"this server is not known as {host[:80]!r}; address it as localhost, or start the "
            "gateway with --allowed-host and that name",
            code="unknown_host",
        )


class NotDeclaredJson(RequestError):
    def __init__(self, declared: str) -> None:
        found = f"as {declared[:80]!r}" if declared else "as no type"
        super().__init__(
            f"the body is declared {found}; send JSON with `Content-Type: application/json`",
            code="unsupported_media_type",
        )


class BodyTooLarge(RequestError):
    def __init__(self, limit: int) -> None:
        super().__init__(
            f"request entity too large: this server accepts {limit} bytes of body; "
            "send less, or start the gateway with a larger --max-body-mb",
            code="body_too_large",
        )


class BodyTooSlow(RequestError):
    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the request's body did not arrive within {seconds:g} s; send it faster, "
            "or in smaller parts",
            code="body_too_slow",
        )


class ResourceNotFound(RequestError):
    pass


class ThreadNotFound(ResourceNotFound):
    """Anthropic's clients send the whole conversation again for this code alone."""

    def __init__(self) -> None:
        super().__init__(
            "this server keeps no threads; send the whole conversation as messages",
            param="thread.previous_message_id",
            code="thread_not_found",
        )


class RequestStopped(RequestError):
    def __init__(self) -> None:
        super().__init__("an operator of this server stopped the request", code="request_stopped")


class ServerStopping(RequestError):
    def __init__(self, *, retry_after: float) -> None:
        super().__init__("this server is shutting down; retry", code="shutting_down")
        self.retry_after = retry_after
