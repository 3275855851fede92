"""Serves a GGUF file with llama.cpp's own OpenAI server, in the foreground.

A program of its own: it runs in the triton-cpu runtime's Python, whose wheel has that server, and
needs nothing else of this package.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

SMALL_BYTES = 32 << 20
SYSTEM = Path("/sys")


def main() -> None:
    args = parsed()
    threads = threads_for(args)
    if args.keep_to_cores and threads == physical_cores() > 1:
        keep_to_cores()
    # OpenMP reads its settings when this loads it.
    import xllamacpp  # type: ignore[import-not-found]

    parameters = xllamacpp.CommonParams()
    parameters.cpuparams.n_threads = threads
    parameters.model.path = args.model
    parameters.model_alias = {args.alias}
    parameters.hostnames = [args.host]
    parameters.port = args.port
    parameters.n_parallel = args.parallel
    # Concurrent requests share the context.
    parameters.n_ctx = args.context * args.parallel
    parameters.endpoint_metrics = True
    # Its own default is 8 GiB, which it fills by 80 MB a minute under load.
    parameters.cache_ram_mib = args.cache_mb
    draft_ahead(xllamacpp, parameters, args)
    have_adapters(xllamacpp, parameters, args)
    pool(xllamacpp, parameters, args)
    serve(xllamacpp, parameters, args)


def serve(xllamacpp: Any, parameters: Any, args: argparse.Namespace) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError:
        # It says no more than that; the lines before are llama.cpp's own.
        sys.stderr.write(f"llama.cpp cannot serve {args.model}; expected a complete GGUF file\n")
        sys.stderr.flush()
        os._exit(1)
    if args.task == "embed" and "error" in (made := server.handle_embeddings({"input": "a"})):
        sys.stderr.write(
            f"{args.model} makes no embeddings: {made['error']['message']}; expected a file that "
            "says how, or --pooling=mean, cls or last (in a profile options.pooling)\n"
        )
        sys.stderr.flush()
        os._exit(1)
    # A full disk with the log on it is no reason not to serve.
    with suppress(OSError):
        sys.stdout.write(f"llama-server serves {args.model} at {server.listening_address}\n")
        sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    # Its own shutdown does not always finish.
    os._exit(0)


def threads_for(args: argparse.Namespace) -> int:
    if args.threads:
        return int(args.threads)
    # A step of a small model is over before a second thread has woken.
    if os.path.isfile(args.model) and os.path.getsize(args.model) < SMALL_BYTES:
        return 1
    return min(physical_cores(), quota())


def physical_cores() -> int:
    """Those this process may use: a second thread on one only slows it down."""
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = SYSTEM / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        cores.add(siblings.read_text() if siblings.is_file() else str(cpu))
    return len(cores)


def quota() -> int:
    """The cores its container may keep busy."""
    with suppress(OSError, ValueError):
        quota, period = (SYSTEM / "fs/cgroup/cpu.max").read_text().split()
        return max(1, math.ceil(int(quota) / int(period)))
    return os.cpu_count() or 1


def keep_to_cores() -> None:
    """Beside one busy program Linux may leave two threads on one core, each awake for the other."""
    os.putenv("OMP_PROC_BIND", "close")
    os.putenv("OMP_PLACES", "cores")


def pool(xllamacpp: Any, parameters: Any, args: argparse.Namespace) -> None:
    if args.task == "generate":
        return
    parameters.embedding = True
    # A text is read in one step, however long it is: its embedding is made of that step's.
    parameters.n_batch = parameters.n_ubatch = args.context
    # Otherwise texts of different lengths are cut into steps that are equally long for all.
    parameters.kv_unified = True
    pooling = "rank" if args.task == "rerank" else args.pooling
    if pooling:
        kind = f"LLAMA_POOLING_TYPE_{pooling.upper()}"
        parameters.pooling_type = getattr(xllamacpp.llama_pooling_type, kind)


def have_adapters(xllamacpp: Any, parameters: Any, args: argparse.Namespace) -> None:
    if not args.lora:
        return
    # None of them is applied until a request chooses it.
    parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in args.lora]
    # What one of them has read of a prompt would be taken for what another one reads.
    parameters.cache_prompt, parameters.cache_ram_mib = False, 0


def draft_ahead(xllamacpp: Any, parameters: Any, args: argparse.Namespace) -> None:
    if not args.spec_type:
        return
    speculative = parameters.speculative
    name = args.spec_type.upper().replace("-", "_")
    kinds = xllamacpp.common_speculative_type
    speculative.types = [getattr(kinds, f"COMMON_SPECULATIVE_TYPE_{name}")]
    speculative.draft.mparams.path = args.spec_draft_model
    speculative.draft.n_max = speculative.ngram_simple.size_m = args.spec_draft_n_max
    speculative.draft.cpuparams.n_threads = parameters.cpuparams.n_threads
    speculative.ngram_simple.size_n = args.spec_ngram_match


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--alias", required=True, help="what the model is called")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=4, help="answers at once (%(default)s)")
    parser.add_argument("--context", type=int, default=4096, help="tokens each (%(default)s)")
    parser.add_argument(
        "--cache-mb",
        type=int,
        default=512,
        help="memory for prompts it has read, for requests that begin alike (%(default)s)",
    )
    parser.add_argument("--threads", type=int, default=0, help="one a core by default")
    parser.add_argument(
        "--keep-to-cores",
        action="store_true",
        help="each thread stays on a core of its own, where there is one for each",
    )
    parser.add_argument(
        "--task", choices=("generate", "embed", "rerank"), default="generate", help="(%(default)s)"
    )
    parser.add_argument(
        "--pooling",
        choices=("mean", "cls", "last"),
        help="how an embedding is made of those of its tokens; by default as the file says",
    )
    add_drafts(parser)
    parser.add_argument("--lora", action="append", default=[], help="a GGUF adapter; repeatable")
    return parser.parse_args()


def add_drafts(parser: argparse.ArgumentParser) -> None:
    drafts = ("draft-simple", "draft-eagle3", "draft-mtp", "ngram-simple")
    parser.add_argument("--spec-type", choices=drafts, help="draft tokens ahead, by this method")
    parser.add_argument("--spec-draft-model", default="", help="the GGUF file that drafts")
    parser.add_argument(
        "--spec-draft-n-max", type=int, default=3, help="tokens drafted at once (%(default)s)"
    )
    parser.add_argument(
        "--spec-ngram-match",
        type=int,
        default=3,
        help="tokens at the text's end that ngram looks for in the text (%(default)s)",
    )


if __name__ == "__main__":
    main()
