"""What a checkpoint must be to be quantized."""

from __future__ import annotations

from enginix.checkpoint.inspect import Inspection
from enginix.checkpoint.layers import PLAIN_TYPES
from enginix.errors import CheckpointDamaged, CheckpointUnsupported
from enginix.quantize.formats import FORMATS


def require_quantizable(found: Inspection, format: str) -> None:
    """Raise for one that is quantized, damaged, or of weights that the format cannot divide."""
    where, stated = found.checkpoint.directory, found.checkpoint.quantization
    if algo := stated.algo or stated.kv_cache_algo:
        raise CheckpointUnsupported(
            f"{where} is quantized already ({algo}); quantize the model that it was made from"
        )
    if found.damage:
        more = f" (and {len(found.damage) - 1} more)" if found.damage[1:] else ""
        raise CheckpointDamaged(
            f"{where}: {found.damage[0]}{more}; see `enginix checkpoint inspect {where}`"
        )
    tensors = found.checkpoint.tensors.values()
    odd = [each for each in tensors if len(each.shape) > 1 and each.dtype not in PLAIN_TYPES]
    if odd:
        raise CheckpointUnsupported(
            f"{where}: {odd[0].name} is {odd[0].dtype}, expected {', '.join(PLAIN_TYPES)}; "
            "quantize the unquantized model"
        )
    block = FORMATS[format].block
    if uneven := [each for each in found.layers if each.quantizable and each.columns % block]:
        raise CheckpointUnsupported(
            f"{where}: {uneven[0].name} has {uneven[0].columns} inputs, but {format} needs a "
            f"multiple of {block}; choose fp8"
        )


def load_type(found: Inspection) -> str:
    """torch's name of the type to load weights in: float16 only if all are."""
    types = {tensor.dtype for tensor in found.checkpoint.tensors.values()} & {*PLAIN_TYPES}
    return "float16" if types == {"F16"} else "bfloat16"
