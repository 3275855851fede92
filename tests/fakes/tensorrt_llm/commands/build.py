"""`python -m tensorrt_llm.commands.build`: its flags, log, files and ways of failing."""

import copy
import os
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from .. import engine, misbehave
from ..logger import logger
from ..models.modeling_utils import PretrainedConfig
from ..plugin import plugin_config
from ..version import has_engine_path
from .arguments import parse_arguments

if not has_engine_path():
    raise ModuleNotFoundError("No module named 'tensorrt_llm.commands.build'")

FAILED = "Engine building failed, please check error log."


def build_and_save(
    rank: int, checkpoint_dir: str, output_dir: str, config: PretrainedConfig, build_config: dict
) -> bool:
    config = copy.deepcopy(config)
    config.mapping.rank = rank
    is_last = rank == config.mapping.world_size - 1
    pieces = engine.load_rank(Path(checkpoint_dir), config)
    logger.info("Total optimization profiles added: 1")
    misbehave.before_building(is_last)
    logger.log("I", "Engine generation completed in 0.1234 seconds.", source="TRT")
    logger.info("Total time of building Unnamed Network 0: 00:00:00")
    engine.save(Path(output_dir), pieces, config, build_config, rank)
    if rank == 0:
        # Written to the current directory, wherever that is.
        Path(build_config["output_timing_cache"]).write_bytes(b"timing cache")
        logger.info(f"Timing cache serialized to {build_config['output_timing_cache']}")
    return True


def parallel_build(
    workers: int, checkpoint_dir: str, output_dir: str, config, build_config
) -> None:
    ranks = range(config.mapping.world_size)
    mpi_size = int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))
    common = (checkpoint_dir, output_dir, config, build_config)
    if mpi_size > 1:
        mine = int(os.environ["OMPI_COMM_WORLD_RANK"])
        for rank in ranks:
            if rank % mpi_size == mine:
                build_and_save(rank, *common)
    elif workers == 1:
        for rank in ranks:
            assert build_and_save(rank, *common), FAILED
    else:
        with ProcessPoolExecutor(mp_context=get_context("spawn"), max_workers=workers) as pool:
            futures = [pool.submit(build_and_save, rank, *common) for rank in ranks]
            exceptions = []
            for future in as_completed(futures):
                try:
                    future.result()
                except Exception as error:
                    traceback.print_exc()
                    exceptions.append(error)
            assert len(exceptions) == 0, FAILED


def main() -> None:
    args = parse_arguments().parse_args()
    if hasattr(args, "gather_generation_logits"):
        logger.warning(
            "Option --gather_generation_logits is deprecated, a build flag is not required "
            "anymore. Use --output_generation_logits at runtime instead."
        )
    logger.set_level(args.log_level)
    start = time.time()
    os.makedirs(args.output_dir, exist_ok=True)
    workers = min(misbehave.gpu_count(), args.workers)
    if hasattr(args, "paged_kv_cache"):
        logger.warning(
            "Option --paged_kv_cache is deprecated, use --kv_cache_type=paged/disabled instead."
        )
    source = args.checkpoint_dir if args.checkpoint_dir is not None else args.model_config
    config = PretrainedConfig.from_json_file(Path(source) / "config.json")
    build_config = _build_config(args, config)
    parallel_build(workers, source, args.output_dir, config, build_config)
    passed = time.strftime("%H:%M:%S", time.gmtime(time.time() - start))
    logger.info(f"Total time of building all engines: {passed}")
    misbehave.after_success()


def _build_config(args, config: PretrainedConfig) -> dict:
    if config.quantization.quant_algo == "NVFP4" and args.gemm_plugin != "disable":
        logger.info(
            "NVFP4 quantization detected, by default enabling NVFP4 GEMM plugin. To use OOTB "
            'GEMM, please explicitly set gemm_plugin to "disable"'
        )
        args.gemm_plugin = "nvfp4"
        args.use_fp8_context_fmha = (
            "enable" if config.quantization.kv_cache_quant_algo == "FP8" else "disable"
        )
    for name in ("reduce_fusion", "user_buffer"):
        if getattr(args, name) == "enable":
            logger.warning(f"Overriding {name} to False")
            setattr(args, name, "disable")
    longest = args.max_seq_len or config.max_position_embeddings or 2048
    max_input_len = args.max_input_len
    if max_input_len > longest:
        logger.warning(f"max_input_len is {max_input_len} and is clipped to {longest}")
        max_input_len = longest
    return {
        "max_input_len": max_input_len,
        "max_seq_len": longest,
        "opt_batch_size": 8,
        "max_batch_size": args.max_batch_size,
        "max_beam_width": args.max_beam_width,
        "max_num_tokens": args.max_num_tokens,
        "opt_num_tokens": args.opt_num_tokens or args.max_batch_size * args.max_beam_width,
        "max_prompt_embedding_table_size": args.max_prompt_embedding_table_size,
        "kv_cache_type": getattr(args, "kv_cache_type", "PAGED"),
        "gather_context_logits": args.gather_context_logits,
        "gather_generation_logits": args.gather_generation_logits,
        "strongly_typed": True,
        "force_num_profiles": None,
        "profiling_verbosity": args.profiling_verbosity,
        "enable_debug_output": args.enable_debug_output,
        "max_draft_len": args.max_draft_len,
        "speculative_decoding_mode": 1,
        "use_refit": False,
        "input_timing_cache": args.input_timing_cache,
        "output_timing_cache": args.output_timing_cache,
        "lora_config": {},
        "weight_sparsity": args.weight_sparsity,
        "weight_streaming": args.weight_streaming,
        "plugin_config": plugin_config(args, config.dtype),
        "use_strip_plan": args.strip_plan,
        "max_encoder_input_len": args.max_encoder_input_len,
        "monitor_memory": args.monitor_memory,
        "use_mrope": False,
    }


if __name__ == "__main__":
    main()
