"""An engine's image layout keeps to the OCI image specification, and holds the engine."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enginix import __version__
from enginix.catalog.load import find_model, load_catalog
from enginix.cli.main import main
from enginix.deploy.kubernetes.release import KINDS, release_of
from enginix.engine.oci_image import image_name, write_image
from enginix.errors import BuildError, EngineDamaged
from enginix.manifest import (
    BuiltWith,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    read_manifest,
    write_manifest,
)

TYPE = "application/vnd.oci.image"
COMMIT = "0123456789012345678901234567890123456789"


def make_engine(directory: Path, name: str = "tiny", tp: int = 1) -> Path:
    contents = {"model.gguf": b"weights" * 5000, "tokenizer.json": b"{}", "extra/a": b""}
    for file, content in contents.items():
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_bytes(content)
    manifest = Manifest(
        name=name,
        kind="gguf",
        architecture="Qwen3ForCausalLM",
        source=Source("org/tiny", COMMIT, {}),
        quantization=Quantization("NVFP4"),
        parallelism=Parallelism(tp=tp, world_size=tp),
        limits=Limits(1, 1024, 1024),
        built_with=BuiltWith("0.0.9", compute_capability="12.0"),
        files={file: len(content) for file, content in contents.items()},
        sha256={file: hashlib.sha256(content).hexdigest() for file, content in contents.items()},
    )
    write_manifest(directory, manifest)
    return directory


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return make_engine(tmp_path / "engine")


@pytest.fixture
def layout(engine: Path, tmp_path: Path) -> Path:
    write_image(engine, tmp_path / "image", "arm64")
    return tmp_path / "image"


def files(directory: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def blob(layout: Path, descriptor: dict[str, Any], media_type: str) -> Path:
    """What a descriptor points to; its type, size and digest are as it says."""
    assert set(descriptor) <= {"mediaType", "digest", "size", "annotations"}
    assert descriptor["mediaType"] == media_type
    algorithm, digest = descriptor["digest"].split(":")
    path = layout / "blobs" / algorithm / digest
    content = path.read_bytes()
    assert (algorithm, digest) == ("sha256", hashlib.sha256(content).hexdigest())
    assert descriptor["size"] == len(content)
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def parts(layout: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], Path]:
    """index, manifest, configuration and layer of an image of one layer."""
    index = read(layout / "index.json")
    [image] = index["manifests"]
    manifest = read(blob(layout, image, f"{TYPE}.manifest.v1+json"))
    [layer] = manifest["layers"]
    config = read(blob(layout, manifest["config"], f"{TYPE}.config.v1+json"))
    return index, manifest, config, blob(layout, layer, f"{TYPE}.layer.v1.tar")


def members(layout: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(parts(layout)[-1], "r:") as tar:
        yield from tar


def test_the_layout_is_what_the_specification_asks_for(layout: Path) -> None:
    assert read(layout / "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    index, manifest, config, layer = parts(layout)
    assert index["schemaVersion"] == manifest["schemaVersion"] == 2
    assert index["mediaType"] == f"{TYPE}.index.v1+json"
    assert manifest["mediaType"] == f"{TYPE}.manifest.v1+json"
    assert (config["os"], config["architecture"]) == ("linux", "arm64")
    assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{layer.name}"]}
    assert len(config["history"]) == 1
    assert len(list((layout / "blobs" / "sha256").iterdir())) == 3


def test_the_tag_is_the_one_that_kubernetes_objects_name(layout: Path) -> None:
    [image] = read(layout / "index.json")["manifests"]
    assert image["annotations"] == {"org.opencontainers.image.ref.name": __version__}


@pytest.mark.parametrize(
    ("name", "tp"),
    [
        (spec.name, variant.tensor_parallel)
        for spec in load_catalog().values()
        if spec.kind in KINDS
        for variant in spec.variants.values()
    ],
)
def test_its_name_is_the_one_that_kubernetes_objects_name(
    name: str, tp: int, tmp_path: Path
) -> None:
    manifest = read_manifest(make_engine(tmp_path, name, tp))
    release = release_of(
        find_model(name), tp, gpus_per_node=8, registry="r.example", gateway="g", replicas=1
    )
    assert release.engine_image == f"r.example/{image_name(manifest)}:{__version__}"


def test_the_labels_say_what_it_was_made_from(engine: Path, layout: Path) -> None:
    _, manifest, config, _ = parts(layout)
    digest = hashlib.sha256((engine / "manifest.json").read_bytes()).hexdigest()
    assert config["config"]["Labels"] == {
        "org.opencontainers.image.title": "tiny-engine",
        "org.opencontainers.image.version": __version__,
        "enginix.engine.digest": f"sha256:{digest}",
        "enginix.engine.kind": "gguf",
        "enginix.engine.source": f"org/tiny@{COMMIT}",
        "enginix.built-with.enginix": "0.0.9",
        "enginix.built-with.compute-capability": "12.0",
    }
    assert manifest["annotations"] == config["config"]["Labels"]


def test_the_layer_holds_the_engine_at_its_root(engine: Path, layout: Path, tmp_path: Path) -> None:
    with tarfile.open(parts(layout)[-1], "r:") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert files(tmp_path / "unpacked") == files(engine)


def test_any_user_may_read_the_files_and_they_tell_nothing_of_their_builder(layout: Path) -> None:
    for member in members(layout):
        assert member.isfile()
        assert (member.mode, member.mtime) == (0o644, 1)
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")


def test_files_that_are_no_part_of_the_engine_stay_out(engine: Path, tmp_path: Path) -> None:
    (engine / "notes.txt").write_text("mine")
    write_image(engine, tmp_path / "image", "amd64")
    assert "notes.txt" not in {member.name for member in members(tmp_path / "image")}


def test_the_same_engine_elsewhere_gives_the_same_bytes(
    engine: Path, layout: Path, tmp_path: Path
) -> None:
    shutil.copytree(engine, tmp_path / "copy", copy_function=shutil.copyfile)
    (tmp_path / "copy" / "model.gguf").chmod(0o600)
    write_image(tmp_path / "copy", tmp_path / "again", "arm64")
    assert files(tmp_path / "again") == files(layout)


def test_a_damaged_engine_leaves_no_image(engine: Path, tmp_path: Path) -> None:
    (engine / "model.gguf").write_bytes(b"changed" * 5000)
    with pytest.raises(EngineDamaged, match=r"model\.gguf has sha256 .*build the engine again"):
        write_image(engine, tmp_path / "image", "amd64")
    assert {path.name for path in tmp_path.iterdir()} == {"engine"}


def test_a_file_that_cannot_be_read_is_named(engine: Path, tmp_path: Path) -> None:
    # Root reads every file, but opens no socket.
    (engine / "extra" / "a").unlink()
    with socket.socket(socket.AF_UNIX) as unreadable:
        unreadable.bind(str(engine / "extra" / "a"))
        with pytest.raises(BuildError, match=r"extra/a cannot be read: No such device or address"):
            write_image(engine, tmp_path / "image", "amd64")


def test_the_command_says_how_the_image_gets_to_a_registry(
    engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "image"
    assert main(["engine", "oci", str(engine), f"--out={out}"]) == 0
    said = capsys.readouterr().out
    copy = f"skopeo copy --preserve-digests oci:{out}"
    assert f"{copy} docker://YOUR_REGISTRY/tiny-engine:{__version__}\n" in said


def test_the_command_writes_over_nothing(
    engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engine", "oci", str(engine), f"--out={engine}"]) == 2
    assert f"--out {engine} is not empty; name a new directory" in capsys.readouterr().err
