"""Quantizes and measures a model with NVIDIA ModelOpt, inside ModelOpt's own Python.

Needs only the standard library, torch, transformers and ModelOpt, so it imports nothing of enginix.

Standard output begins with what the machine has. Each line of standard input then is a command, a
JSON object whose `do` names one of COMMANDS; its answer is one line with `result` or `failed`,
after any number of lines with `progress`. What the libraries print goes to standard error.
"""

from __future__ import annotations

import copy
import errno
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Python put this directory first; its modules would hide others of the same name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]

FULL = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")

# The magnitudes of FP4 E2M1; the fourth bit is the sign.
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
SCALES = (".weight_scale", ".weight_scale_2", ".input_scale", ".k_scale", ".v_scale")


class Refused(Exception):
    """Something about the request; its message is for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Output:
    """Standard output for answers alone: whatever a library prints goes to standard error."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def tell(self, **fields: Any) -> None:
        self._file.write(json.dumps(fields) + "\n")
        self._file.flush()

    def each(self, items: list[Any]) -> Iterator[Any]:
        for done, item in enumerate(items, start=1):
            yield item
            self.tell(progress=[done, len(items)])


class Job:
    """The loaded model; `device` is cpu or cuda."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._model: Any = None
        self._source = ""
        self._device = ""

    def load(self, source: str, device: str, dtype: str) -> dict[str, Any]:
        import torch
        from transformers import AutoModelForCausalLM

        self._source, self._device, self._model = source, device, None
        options = {"device_map": "auto"} if device == "cuda" else {}
        try:
            self._model, found = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
        except (ValueError, KeyError, ImportError) as error:
            raise Refused("unsupported", _first_line(error)) from error
        # transformers gives random values to weights that it does not find.
        if lost := [*found["missing_keys"], *(each[0] for each in found["mismatched_keys"])]:
            raise Refused("weights", f"{sorted(lost)[0]} ({len(lost)} in all)")
        places = {str(each) for each in getattr(self._model, "hf_device_map", {}).values()}
        if left := places & {"cpu", "disk"}:
            raise Refused("gpu-memory", f"part of the model was put on the {sorted(left)[0]}")
        self._model.eval()
        return {}

    def calibrate(
        self,
        samples: list[dict[str, Any]],
        length: int,
        least_tokens: int,
        recipe: str,
        kv_cache: str | None,
    ) -> dict[str, Any]:
        import modelopt.torch.quantization as mtq

        rows = list(self._tokenized(samples, length))
        tokens = sum(map(len, rows))
        if tokens < least_tokens:
            raise Refused(
                "calibration",
                f"its {len(rows)} samples have {tokens} tokens, expected at least {least_tokens}",
            )
        configuration = copy.deepcopy(getattr(mtq, recipe))
        if kv_cache:
            configuration = mtq.update_quant_cfg_with_kv_cache_quant(
                configuration, getattr(mtq, kv_cache)["quant_cfg"]
            )
        self._model = mtq.quantize(self._model, configuration, lambda model: self._see(model, rows))
        mtq.print_quant_summary(self._model)
        return {"tokens": tokens}

    def export(self, out: str) -> dict[str, Any]:
        import torch
        from modelopt.torch.export import export_hf_checkpoint
        from transformers import GenerationConfig

        # transformers refuses to save some published ones, and the source's own is copied anyway.
        self._model.generation_config = GenerationConfig.from_model_config(self._model.config)
        with torch.inference_mode():
            export_hf_checkpoint(self._model, export_dir=out)
        self._model = None
        return {}

    def replace(self, weights: str) -> dict[str, Any]:
        """Give the loaded model the dequantized weights of the checkpoint in `weights`."""
        import torch
        from safetensors import safe_open

        own = self._model.state_dict()
        for file in self._output.each(sorted(Path(weights).glob("*.safetensors"))):
            with safe_open(file, "pt") as found, torch.no_grad():
                names: list[str] = found.keys()
                for name in names:
                    if name.endswith(SCALES):
                        continue
                    if name not in own:
                        raise Refused("unsupported", f"the model has no tensor {name}")
                    own[name].copy_(_weight(found, name))
        return {}

    def score(self, windows: list[dict[str, Any]]) -> dict[str, Any]:
        """The sum of the natural log probabilities of every window's tokens from `first` on."""
        import torch

        total = 0.0
        for window in self._output.each(windows):
            ids = torch.tensor([window["ids"]], device=self._model.device)
            with torch.inference_mode():
                logits = self._model(ids).logits[0, window["first"] - 1 : -1]
                found = logits.float().log_softmax(-1).cpu()
            targets = ids[0, window["first"] :].cpu().unsqueeze(-1)
            total += found.gather(-1, targets).double().sum().item()
        # JSON has no NaN.
        return {"logprob": total if abs(total) < float("inf") else None}

    def answer(self, prompts: list[list[int]], max_tokens: int) -> dict[str, Any]:
        """The greedy continuation of each prompt."""
        import torch

        answers = []
        for prompt in self._output.each(prompts):
            ids = list(prompt)
            cache = None
            for _ in range(max_tokens):
                new = torch.tensor([ids if cache is None else ids[-1:]], device=self._model.device)
                with torch.inference_mode():
                    found = self._model(new, past_key_values=cache, use_cache=True)
                cache = found.past_key_values
                ids.append(int(found.logits[0, -1].argmax()))
            answers.append(ids[len(prompt) :])
        return {"answers": answers}

    def _tokenized(self, samples: list[dict[str, Any]], length: int) -> Iterator[list[int]]:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self._source, local_files_only=True)
        for number, sample in enumerate(samples, start=1):
            try:
                if "messages" in sample:
                    # Tokenizing in one step returns another type in transformers 5.
                    text = tokenizer.apply_chat_template(sample["messages"], tokenize=False)
                    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                else:
                    ids = tokenizer(sample["text"])["input_ids"]
            except Exception as error:
                raise Refused("calibration", f"sample {number}: {_first_line(error)}") from error
            if ids:
                yield ids[:length]

    def _see(self, model: Any, rows: list[list[int]]) -> None:
        import torch

        with torch.inference_mode():
            for row in self._output.each(rows):
                model(torch.tensor([row], device=model.device))


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "load": Job.load,
    "calibrate": Job.calibrate,
    "export": Job.export,
    "replace": Job.replace,
    "score": Job.score,
    "answer": Job.answer,
}


def _weight(found: Any, name: str) -> Any:
    """A tensor of a ModelOpt checkpoint, dequantized if it is quantized."""
    import torch

    tensor = found.get_tensor(name)
    if tensor.dtype not in (torch.uint8, torch.float8_e4m3fn):
        return tensor
    scale = found.get_tensor(f"{name}_scale").float()
    if tensor.dtype == torch.float8_e4m3fn:
        # One scale for the tensor, or one for each row.
        return tensor.float() * (scale.reshape(-1, 1) if scale.dim() else scale)
    table = torch.tensor([*E2M1, *(-value for value in E2M1)])
    # The low nibble is the even element.
    codes = torch.stack([tensor & 0xF, tensor >> 4], -1).flatten(-2).long()
    blocks = table[codes].reshape(*scale.shape, -1) * scale.unsqueeze(-1)
    return blocks.flatten(-2) * found.get_tensor(f"{name}_scale_2").float()


def main() -> None:
    output = Output()
    try:
        output.tell(result=_environment())
    except ImportError as error:
        output.tell(failed="environment", message=_first_line(error))
        return
    job = Job(output)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = COMMANDS[command.pop("do")](job, **command)
        except Exception as error:
            kind, message = _explained(error)
            output.tell(failed=kind, message=message)
            # Last, because it fails where the disk is full.
            traceback.print_exc()
            return
        # ru_maxrss is in kB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        output.tell(result={**result, "peak_memory": peak})


def _environment() -> dict[str, Any]:
    import modelopt.torch.quantization
    import torch
    import transformers

    libraries: dict[str, Any] = {
        "ModelOpt": modelopt,
        "torch": torch,
        "transformers": transformers,
    }
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "versions": {name: library.__version__ for name, library in libraries.items()},
        "gpus": [
            {"name": torch.cuda.get_device_name(at), "free": torch.cuda.mem_get_info(at)[0]}
            for at in range(count)
        ],
    }


def _explained(error: Exception) -> tuple[str, str]:
    """What kind of failure it is, and what to say of it."""
    import torch

    text = str(error)
    if isinstance(error, Refused):
        return error.kind, text
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "gpu-memory", _first_line(error)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: " in text:
        return "memory", _first_line(error)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
        word in text for word in FULL
    ):
        return "disk", _first_line(error)
    return "error", f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


if __name__ == "__main__":
    main()
