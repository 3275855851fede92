"""A Nix hash needs disk space for one file, and too little space is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.checkpoint.download import Event
from enginix.checkpoint.listing import Hub, Listing
from enginix.checkpoint.prefetch import hash_without_keeping
from enginix.checkpoint.transfer import RemoteFile
from enginix.errors import DownloadError


async def test_too_little_space_for_the_largest_file_is_reported_before_the_first_byte(
    tmp_path: Path,
) -> None:
    files = (
        RemoteFile("model-1.safetensors", 10**18, "http://127.0.0.1:9/1"),
        RemoteFile("config.json", 2, "http://127.0.0.1:9/2"),
    )
    events: list[Event] = []
    listing = Listing("org/huge", "0" * 40, files)
    with pytest.raises(
        DownloadError, match=r"model-1\.safetensors of org/huge has 1,000,000,000,00"
    ):
        await hash_without_keeping(
            Hub("http://127.0.0.1:9"), listing, tmp_path / "passing", events.append
        )
    assert events == []
    assert list(tmp_path.iterdir()) == []
