"""Each layer gets the quantization that the checkpoint states for it."""

from __future__ import annotations

from enginix.checkpoint.layers import StatedQuantizations
from enginix.manifest import Quantization


def test_a_group_of_names_takes_precedence_over_a_group_of_all_linear_layers() -> None:
    stated = StatedQuantizations(
        Quantization("MIXED_PRECISION"),
        {"Linear": Quantization("NVFP4", None, 16), "re:.*self_attn.*": Quantization("FP8")},
    )
    assert stated.of("model.layers.0.self_attn.q_proj").algo == "FP8"
    assert stated.of("model.layers.0.mlp.up_proj").algo == "NVFP4"


def test_a_layer_that_no_group_names_is_not_quantized() -> None:
    stated = StatedQuantizations(
        Quantization("MIXED_PRECISION"), {"re:.*self_attn.*": Quantization("FP8")}
    )
    assert stated.of("model.layers.0.mlp.up_proj").algo is None
