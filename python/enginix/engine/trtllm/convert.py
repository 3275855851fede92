"""Makes one rank's checkpoint, inside TensorRT-LLM's own Python: `python convert.py REQUEST`.

Needs only the standard library and tensorrt_llm. One process per rank, so that its memory returns
to the system. Its result goes to the request's report file, because TensorRT-LLM prints banners to
standard output.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

# Python put this directory first; its modules would hide others of the same name (`log`, `build`).
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if "rank" in request:
        convert(request)
    else:
        # Only the versions are requested.
        import tensorrt_llm  # noqa: F401
    report = {"rank": request.get("rank"), "peak_memory": peak_memory(), **describe_runtime()}
    path = Path(request["report"])
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(report), encoding="utf-8")
    partial.replace(path)


def convert(request: dict[str, Any]) -> None:
    from tensorrt_llm import Mapping
    from tensorrt_llm.models import MODEL_MAP
    from tensorrt_llm.models.modeling_utils import QuantConfig

    ranks = request["tensor_parallel"]
    stated = request["quantization"]
    model = MODEL_MAP[request["architecture"]].from_hugging_face(
        request["checkpoint"],
        request["dtype"],
        mapping=Mapping(world_size=ranks, rank=request["rank"], tp_size=ranks),
        quant_config=QuantConfig(**quant_config_values(stated)) if stated else None,
    )
    # TensorRT-LLM does not create the directory, and every rank would write the same config.json.
    Path(request["output"]).mkdir(parents=True, exist_ok=True)
    model.save_checkpoint(request["output"], save_config=request["rank"] == 0)


def quant_config_values(stated: dict[str, Any]) -> dict[str, Any]:
    """Algorithm names as members of QuantAlgo, whose type TensorRT-LLM checks."""
    from tensorrt_llm.quantization import QuantAlgo

    algorithms = ("quant_algo", "kv_cache_quant_algo")
    return {
        key: QuantAlgo(value) if key in algorithms and value is not None else value
        for key, value in stated.items()
    }


def describe_runtime() -> dict[str, str | None]:
    """Versions and GPU, from the modules TensorRT-LLM has imported; None if it has not."""
    torch: Any = sys.modules.get("torch")
    tensorrt = sys.modules.get("tensorrt")
    has_gpu = torch is not None and torch.cuda.is_available()
    capability = torch.cuda.get_device_capability(0) if has_gpu else None
    return {
        "tensorrt_llm": sys.modules["tensorrt_llm"].__version__,
        "tensorrt": getattr(tensorrt, "__version__", None),
        "cuda": torch.version.cuda if torch is not None else None,
        "gpu_name": torch.cuda.get_device_name(0) if has_gpu else None,
        "compute_capability": ".".join(map(str, capability)) if capability else None,
    }


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
