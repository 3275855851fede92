"""The edge-llm kind for `enginix engine`: its default limits, its options and its environment."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from enginix.cli import environment
from enginix.engine.build import Build, Job
from enginix.engine.edge_llm.build import KIND, BuildContext, edge_llm_build
from enginix.engine.trtllm.watchdog import Patience
from enginix.manifest import Limits
from enginix.runtimes import edge_llm_program
from enginix.runtimes.find import find_server

__all__ = ["KIND", "LIMITS", "add_arguments", "builder"]

# The memory of the whole KV cache is taken at the start. The builder's own limits, a prompt of 32
# tokens in a context of 96, are for trying it out.
LIMITS = Limits(max_batch_size=4, max_seq_len=8192, max_num_tokens=6144)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engines of the kind edge-llm")
    group.add_argument(
        "--requantize-experts",
        action="store_true",
        help="accept that it quantizes a mixture's NVFP4 experts again, with 3 %% to 28 %% error",
    )
    group.add_argument("--env", metavar="NAME", help="the environment, if `setup --env` named it")


def builder(job: Job, out: Path, args: argparse.Namespace | None) -> Build:
    limits = job.limits
    # A prompt is read in one step. It leaves a quarter of the context to the answer.
    prompt = (args and args.max_input_len) or limits.max_seq_len - limits.max_seq_len // 4
    context = BuildContext(
        python=_python(args),
        asked=Path(edge_llm_program.__file__),
        environment=environment.for_child(),
        work=(args and args.work_dir) or out.with_name(f".{out.name}.work"),
        warn=lambda text: print(f"tensorrt-edgellm-build: warning: {text}", file=sys.stderr),
        requantize_experts=bool(args and args.requantize_experts),
        patience=Patience(silence=args.silence_limit, deadline=args.deadline)
        if args
        else Patience(),
    )
    return edge_llm_build(replace(job, limits=replace(limits, max_num_tokens=prompt)), context)


def _python(args: argparse.Namespace | None) -> Path:
    """The Python beside the server's program; RuntimeMissing says how to install it."""
    # Imports the gateway's clients, which `verify` and `show` do not need.
    from enginix.serve.servers.edge_llm import EDGE_LLM

    home, named = environment.cache_home(), (args.env if args else None) or ""
    override = environment.runtime_override(KIND)
    program = find_server(KIND, EDGE_LLM.recipes, home, override, named)
    return program.with_name("python")
