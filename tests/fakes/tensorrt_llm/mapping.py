"""Which rank of how many: TensorRT-LLM's Mapping, with its own checks and messages."""


class Mapping:
    def __init__(
        self,
        world_size: int = 1,
        rank: int = 0,
        gpus_per_node: int = 8,
        *,
        cp_size: int = 1,
        cp_config: dict | None = None,
        tp_size: int = 1,
        pp_size: int = 1,
        moe_cluster_size: int = -1,
        moe_tp_size: int = -1,
        moe_ep_size: int = -1,
        attn_tp_size: int = -1,
        attn_cp_size: int = -1,
        enable_attention_dp: bool = False,
        enable_lm_head_tp_in_adp: bool = False,
    ) -> None:
        if tp_size * pp_size * cp_size != world_size:
            raise ValueError(
                "world_size must equal to tp_size * pp_size * cp_size, "
                f"but got {world_size} != {tp_size} * {pp_size} * {cp_size}."
            )
        self.world_size = world_size
        self.gpus_per_node = gpus_per_node
        self.cp_size, self.tp_size, self.pp_size = cp_size, tp_size, pp_size
        self.cp_config = cp_config or {}
        self.moe_tp_size = tp_size if moe_tp_size < 0 else moe_tp_size
        self.moe_ep_size = 1 if moe_ep_size < 0 else moe_ep_size
        self.moe_cluster_size = 1 if moe_cluster_size < 0 else moe_cluster_size
        self.attn_tp_size = tp_size * cp_size if attn_tp_size < 0 else attn_tp_size
        self.attn_cp_size = 1 if attn_cp_size < 0 else attn_cp_size
        self.enable_attention_dp = enable_attention_dp
        self.enable_lm_head_tp_in_adp = enable_lm_head_tp_in_adp
        self.rank = rank

    @property
    def rank(self) -> int:
        return self._rank

    @rank.setter
    def rank(self, rank: int) -> None:
        if not isinstance(rank, int) or not 0 <= rank < self.world_size:
            raise ValueError(
                f"Rank should be an integer between 0 and {self.world_size - 1}, but got {rank}."
            )
        self._rank = rank

    @property
    def tp_rank(self) -> int:
        return self.rank % self.tp_size

    def to_dict(self) -> dict:
        return {
            "world_size": self.world_size,
            "rank": self.rank,
            "gpus_per_node": self.gpus_per_node,
            "cp_size": self.cp_size,
            "tp_size": self.tp_size,
            "pp_size": self.pp_size,
            "moe_tp_size": self.moe_tp_size,
            "moe_cluster_size": self.moe_cluster_size,
            "moe_ep_size": self.moe_ep_size,
            "attn_tp_size": self.attn_tp_size,
            "attn_cp_size": self.attn_cp_size,
            "cp_config": self.cp_config,
            "enable_attention_dp": self.enable_attention_dp,
            "enable_lm_head_tp_in_adp": self.enable_lm_head_tp_in_adp,
        }
