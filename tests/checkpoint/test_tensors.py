"""An accepted header describes its file; any other is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from checkpoint.files import TWO_TENSORS, file_of, header_of, safetensors, write_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.tensors import (
    INDEX_FILE,
    MAX_HEADER_BYTES,
    SINGLE_FILE,
    read_header,
    read_headers,
    weight_files,
)
from enginix.errors import CheckpointDamaged, EnginixError, NotACheckpoint

DEMO = DIRECTORY / "checkpoints/demo"
DATA = b"".join(data for _, _, data in TWO_TENSORS.values())

in_one_directory = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write(tmp_path: Path, content: bytes, name: str = SINGLE_FILE) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def changed_header(**changes: object) -> bytes:
    header = header_of(TWO_TENSORS)
    header["a.weight"] |= changes
    return file_of(header, DATA)


def test_offsets_lead_to_a_tensors_bytes(tmp_path: Path) -> None:
    path = write(tmp_path, safetensors())
    tensor = read_headers(tmp_path)["b.weight"]
    assert (tensor.dtype, tensor.shape, tensor.file) == ("BF16", (4,), path)
    assert path.read_bytes()[tensor.start : tensor.stop] == TWO_TENSORS["b.weight"][2]


def test_the_shipped_checkpoint_is_read_whole() -> None:
    tensors = read_headers(DEMO)
    assert len(tensors) == 139
    assert sum(tensor.size_bytes for tensor in tensors.values()) == 2421392 - 8 - 14344
    assert tensors["model.layers.0.mlp.up_proj.input_scale"].shape == ()


def test_shards_are_read_as_their_index_says(tmp_path: Path) -> None:
    for name, value in TWO_TENSORS.items():
        write(tmp_path, safetensors({name: value}), f"{name[0]}.safetensors")
    weight_map = {name: f"{name[0]}.safetensors" for name in TWO_TENSORS}
    write_json(tmp_path / INDEX_FILE, {"weight_map": weight_map})
    assert {name: info.file.name for name, info in read_headers(tmp_path).items()} == weight_map
    assert weight_files(tmp_path) == ["a.safetensors", "b.safetensors"]


def test_sub_byte_types_are_counted_in_bits(tmp_path: Path) -> None:
    path = write(tmp_path, safetensors({"w": ("F4", [2, 16], bytes(16))}))
    assert read_header(path)["w"].size_bytes == 16


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, expected a safetensors file"),
        (b"abc", "has 3 bytes, expected a safetensors file"),
        (b"PK\3\4 a zip archive, not a header", "is not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (file_of(b"[1, 2]", b""), "is not a safetensors file"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "is not a safetensors file"),
        ((5000).to_bytes(8, "little") + b"{}", "is truncated: found 10 bytes"),
        (file_of(b'{"a": ', b""), "the header is not JSON"),
        (file_of(b'{"a":' * 200_000 + b"1" + b"}" * 200_000, b""), "nested too deeply"),
        (file_of(b'{"a": {}, "a": {}}', b""), "'a' is repeated"),
        (file_of(b'{"a": "\xff"}', b""), "the header is not JSON"),
        (file_of({"a": 3}, b""), "expected dtype, shape and data_offsets"),
        (file_of({"a\n": {}}, b""), "expected a name of printable characters"),
        (safetensors()[:-1], "is truncated: found"),
        (safetensors() + b"x", "has bytes after its last tensor"),
        (changed_header(dtype="F99"), "dtype: expected one of safetensors', got 'F99'"),
        (changed_header(dtype=["F32"]), "dtype: expected one of safetensors'"),
        (changed_header(shape=[2, 4]), "24 bytes of data, but F32 [2, 4] takes 32"),
        (changed_header(shape=[-2, -3]), "shape: expected a list of sizes"),
        (changed_header(shape=[2, True]), "shape: expected a list of sizes"),
        (changed_header(shape=[1] * 33), "shape: expected a list of sizes"),
        (changed_header(shape=[2.0, 3]), "shape: expected a list of sizes"),
        (changed_header(data_offsets=[0]), "data_offsets: expected [start, stop]"),
        (changed_header(data_offsets=[24, 0]), "-24 bytes of data"),
        (changed_header(data_offsets=[8, 32]), "starts after a gap"),
        (changed_header(shape=[8], data_offsets=[0, 32]), "overlaps the tensor before it"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write(tmp_path, content)
    with pytest.raises(CheckpointDamaged) as caught:
        read_headers(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_truncated_file_says_how_much_is_missing(tmp_path: Path) -> None:
    whole = safetensors()
    write(tmp_path, whole[:-10])
    with pytest.raises(CheckpointDamaged, match=f"found {len(whole) - 10} bytes.* {len(whole)};"):
        read_headers(tmp_path)


def test_an_empty_directory_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NotACheckpoint, match=r"no weights; expected model\.safetensors"):
        read_headers(tmp_path)


def test_a_missing_directory_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NotACheckpoint, match="does not exist"):
        read_headers(tmp_path / "nowhere")


def test_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NotACheckpoint, match="is not a directory"):
        read_headers(write(tmp_path, b""))


def test_shards_without_an_index_are_refused(tmp_path: Path) -> None:
    write(tmp_path, safetensors(), "model-00001-of-00002.safetensors")
    with pytest.raises(NotACheckpoint, match=r"1 \.safetensors files without"):
        read_headers(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write(tmp_path, safetensors(), "a.safetensors")
    weight_map = {"a.weight": "a.safetensors", "c": "c.safetensors"}
    write_json(tmp_path / INDEX_FILE, {"weight_map": weight_map})
    with pytest.raises(NotACheckpoint, match=r"1 of 2 weight files.*the first is c\.safetensors"):
        read_headers(tmp_path)


def test_a_tensor_only_in_the_index_is_named(tmp_path: Path) -> None:
    write(tmp_path, safetensors())
    write_json(tmp_path / INDEX_FILE, {"weight_map": {"c.weight": SINGLE_FILE}})
    with pytest.raises(CheckpointDamaged, match=r"states that 'c\.weight' is in .* in no shard"):
        read_headers(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for shard in ("a.safetensors", "b.safetensors"):
        write(tmp_path, safetensors(), shard)
    weight_map = {"a.weight": "a.safetensors", "b.weight": "b.safetensors"}
    write_json(tmp_path / INDEX_FILE, {"weight_map": weight_map})
    with pytest.raises(CheckpointDamaged, match=r"is in a\.safetensors and also in b\.safetens"):
        read_headers(tmp_path)


def test_one_file_beside_an_index_of_others_is_refused(tmp_path: Path) -> None:
    write(tmp_path, safetensors())
    write(tmp_path, safetensors(), "a.safetensors")
    write_json(tmp_path / INDEX_FILE, {"weight_map": dict.fromkeys(TWO_TENSORS, "a.safetensors")})
    with pytest.raises(CheckpointDamaged, match="expected one or the other"):
        read_headers(tmp_path)


@pytest.mark.parametrize("shard", ["../a.safetensors", "/etc/passwd", "", ".", "a\0b", 7])
def test_an_index_cannot_name_files_outside_the_directory(tmp_path: Path, shard: object) -> None:
    write_json(tmp_path / INDEX_FILE, {"weight_map": {"a.weight": shard}})
    with pytest.raises(CheckpointDamaged, match="expected a plain file name"):
        read_headers(tmp_path)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": []}, {"weight_map": {}}])
def test_an_index_without_a_weight_map_is_refused(tmp_path: Path, index: object) -> None:
    write_json(tmp_path / INDEX_FILE, index)
    with pytest.raises(CheckpointDamaged, match="expected weight_map"):
        read_headers(tmp_path)


def test_an_unreadable_weight_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / SINGLE_FILE).mkdir()
    with pytest.raises(CheckpointDamaged, match="cannot be read: Is a directory"):
        read_headers(tmp_path)


@in_one_directory
@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(EnginixError):
        read_header(write(tmp_path, content))


@in_one_directory
@given(header=st.binary(max_size=120), data=st.binary(max_size=16))
def test_a_random_header_raises_nothing_else(tmp_path: Path, header: bytes, data: bytes) -> None:
    path = write(tmp_path, file_of(b"{" + header, data))
    try:
        read_header(path)
    except EnginixError:
        return


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@in_one_directory
@given(
    header=st.dictionaries(
        st.text(max_size=4),
        st.fixed_dictionaries(
            {"dtype": json_values, "shape": json_values, "data_offsets": json_values}
        )
        | json_values,
        max_size=3,
    )
)
def test_any_json_header_raises_nothing_else(tmp_path: Path, header: object) -> None:
    path = write(tmp_path, file_of(json.dumps(header).encode(), bytes(8)))
    try:
        read_header(path)
    except EnginixError:
        return


@in_one_directory
@given(data=st.data())
def test_a_flipped_header_bit_is_refused_or_still_describes_the_file(
    tmp_path: Path, data: st.DataObject
) -> None:
    whole = bytearray(safetensors())
    position = data.draw(st.integers(0, len(whole) - len(DATA) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    path = write(tmp_path, bytes(whole))
    try:
        tensors = read_header(path)
    except EnginixError:
        return
    assert sum(tensor.size_bytes for tensor in tensors.values()) == len(DATA)


@in_one_directory
@given(length=st.integers(0, len(safetensors()) - 1))
def test_every_truncation_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(CheckpointDamaged):
        read_header(write(tmp_path, safetensors()[:length]))


def test_a_link_to_the_weights_is_followed(tmp_path: Path) -> None:
    shutil.copy(DEMO / SINGLE_FILE, tmp_path / "blob")
    (tmp_path / SINGLE_FILE).symlink_to("blob")
    assert len(read_headers(tmp_path)) == 139
