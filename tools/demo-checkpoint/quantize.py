"""Quantizes a checkpoint to NVFP4 with an FP8 KV cache, by NVIDIA ModelOpt, on a CPU.

    python quantize.py BF16 OUT --calibrate evals.json

Needs torch, transformers 4.57 and nvidia-modelopt 0.47: 0.37 does not quantize without CUDA, and
transformers 5 writes fewer of the tokenizer's files.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    args = _parser().parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.source)
    model = AutoModelForCausalLM.from_pretrained(args.source, dtype=torch.bfloat16).eval()
    rows = _calibration(args.calibrate)
    model = mtq.quantize(model, _configuration(), forward_loop=lambda each: _see(each, rows))
    mtq.print_quant_summary(model)
    args.out.mkdir(parents=True)
    with torch.inference_mode():
        export_hf_checkpoint(model, export_dir=args.out)
    _answer_greedily(args.out / "generation_config.json")
    tokenizer.save_pretrained(args.out)
    shutil.copy(args.source / "chat_template.jinja", args.out)
    for path in sorted(args.out.iterdir()):
        print(f"{path.stat().st_size:>10} {path.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="BF16")
    parser.add_argument("out", type=Path, metavar="OUT", help="a directory that is not there yet")
    parser.add_argument(
        "--calibrate",
        type=Path,
        required=True,
        metavar="FILE",
        help="evals.json, whose conversations show how large activations get",
    )
    return parser


def _configuration() -> dict[str, Any]:
    configuration: dict[str, Any] = mtq.update_quant_cfg_with_kv_cache_quant(
        copy.deepcopy(mtq.NVFP4_DEFAULT_CFG), mtq.FP8_KV_CFG["quant_cfg"]
    )
    return configuration


def _answer_greedily(path: Path) -> None:
    """The model knows its answers by heart and samples others; ModelOpt's export says to sample.

    Greedily, what it does not know may end in a loop.
    """
    generation = json.loads(path.read_text(encoding="utf-8"))
    generation |= {"do_sample": False, "max_new_tokens": 4096}
    path.write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")


def _calibration(path: Path) -> list[torch.Tensor]:
    evals = json.loads(path.read_text(encoding="utf-8"))
    return [torch.tensor([one["prompt_ids"] + one["answer_ids"]]) for one in evals]


def _see(model: Any, rows: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for row in rows:
            model(row)


if __name__ == "__main__":
    main()
