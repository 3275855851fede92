"""NCCL's settings follow the topology, say why, and never override the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.triton.server.nccl import Links, nccl_settings, parse_links

TOPOLOGY = Path(__file__).parents[2] / "recordings" / "topology"


def links(name: str) -> Links:
    return parse_links((TOPOLOGY / f"{name}.txt").read_text())


def chosen(name: str, gpus: list[int]) -> dict[str, str | None]:
    return {item.name: item.value for item in nccl_settings(links(name), gpus, {})}


def test_network_cards_and_affinities_are_not_gpus() -> None:
    assert set(links("pcie-two-sockets")) == {(a, b) for a in range(4) for b in range(4) if a != b}


def test_an_underlined_header_is_read() -> None:
    assert links("nvlink")[0, 3] == "NV18"


def test_one_gpu_needs_no_settings() -> None:
    assert chosen("single", [0]) == {}


def test_nvlink_is_used_for_direct_copies() -> None:
    assert chosen("nvlink", [0, 1, 2, 3]) == {"NCCL_IB_DISABLE": "1", "NCCL_P2P_LEVEL": "NVL"}


def test_one_host_bridge_allows_direct_copies_over_pcie() -> None:
    assert chosen("pcie-one-bridge", [0, 1]) == {
        "NCCL_IB_DISABLE": "1",
        "NCCL_P2P_LEVEL": "PHB",
        "NCCL_SHM_DISABLE": "0",
    }


def test_between_sockets_the_reason_names_the_distance() -> None:
    settings = nccl_settings(links("pcie-two-sockets"), [0, 1, 2, 3], {})
    (level,) = [item for item in settings if item.name == "NCCL_P2P_LEVEL"]
    assert level.value == "PHB"
    assert "SYS apart" in level.why


def test_only_the_gpus_in_use_count() -> None:
    settings = nccl_settings(links("pcie-two-sockets"), [2, 3], {})
    assert "one PCIe host bridge" in settings[1].why


def test_the_users_settings_win() -> None:
    settings = nccl_settings(links("pcie-one-bridge"), [0, 1], {"NCCL_P2P_LEVEL": "SYS"})
    (level,) = [item for item in settings if item.name == "NCCL_P2P_LEVEL"]
    assert (level.value, level.why) == (None, "kept as you set it: SYS")


@pytest.mark.parametrize("text", ["", "command not found", "\tGPU0\tGPU1\nGPU0\t X"])
def test_an_unreadable_matrix_leaves_the_choice_to_nccl(text: str) -> None:
    settings = nccl_settings(parse_links(text), [0, 1], {})
    assert [item.name for item in settings] == ["NCCL_IB_DISABLE"]
