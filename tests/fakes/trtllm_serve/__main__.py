"""`trtllm-serve MODEL --option=value ...`, as far as it can be had without a GPU.

FAKE_GPUS (1) is how many it sees, FAKE_LOADING_SECONDS (0) how long a model takes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from fakes.trtllm_serve.options import command
from fakes.trtllm_serve.server import TrtllmServer
from fakes.trtllm_serve.settings import read_settings

# Settings and command-line options with the same meaning.
PASSED_ON = (
    *("model", "backend", "tokenizer", "max_batch_size", "max_num_tokens", "max_seq_len"),
    *("max_beam_width", "tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size"),
    *("moe_expert_parallel_size", "trust_remote_code", "reasoning_parser"),
    "enable_chunked_prefill",
)


def serve(model: str, host: str, port: int, **options: Any) -> None:
    gpus = options["gpus_per_node"] or int(os.environ.get("FAKE_GPUS", "1"))
    if gpus == 0:
        raise ValueError("No GPU devices found on the node")
    given = {"model": model, **options}
    settings = read_settings(
        {
            **{key: given[key] for key in PASSED_ON},
            "gpus_per_node": gpus,
            "kv_cache_config": {"free_gpu_memory_fraction": options["free_gpu_memory_fraction"]},
        },
        options["extra_llm_api_options"],
    )
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise RuntimeError(f"Failed to bind socket to {host}:{port}: {error}") from None
        # Bound but not listening: connections are refused until the model is loaded.
        load(settings.model, settings.tensor_parallel_size, gpus)
        name = Path(model).name if Path(model).is_dir() else model
        asyncio.run(listen(listening, TrtllmServer(name, settings.reasoning_parser)))


def load(model: str, ranks: int, gpus: int) -> None:
    if ranks > gpus:
        raise RuntimeError(f"The number of GPUs ({gpus}) is less than the world size ({ranks})")
    if not (Path(model) / "config.json").is_file():
        raise OSError(
            f"{model} is not a local folder and is not a valid model identifier listed on "
            "'https://huggingface.co/models'"
        )
    print(f"[TRT-LLM] [I] Loading {model}", flush=True)
    time.sleep(float(os.environ.get("FAKE_LOADING_SECONDS", "0")))


async def listen(listening: socket.socket, server: TrtllmServer) -> None:
    running = await asyncio.start_server(server.serve, sock=listening)
    print("INFO:     Application startup complete.", flush=True)
    await running.serve_forever()


def install(root: Path) -> Path:
    """An environment with this trtllm-serve in it, for ENGINIX_RUNTIME_TENSORRT_LLM."""
    program = root / "bin" / "trtllm-serve"
    program.parent.mkdir(parents=True, exist_ok=True)
    tests = Path(__file__).parents[2]
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(tests)!r})\n"
        "from fakes.trtllm_serve.__main__ import main\nmain()\n"
    )
    program.chmod(0o755)
    return root


def main() -> None:
    arguments = sys.argv[1:]
    # Its one subcommand that may be left out.
    command(serve).main(
        arguments[1:] if arguments[:1] == ["serve"] else arguments, prog_name="trtllm-serve"
    )


if __name__ == "__main__":
    main()
