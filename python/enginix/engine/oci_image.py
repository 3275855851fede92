"""An engine as an OCI image: its files as one layer, to be mounted as a volume and never run.

The result is an OCI image layout, the directory that registry tools copy from. The layer is a plain
tar of the standard media type, which everything that mounts images unpacks; weights do not
compress. The same engine gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from enginix import __version__
from enginix.engine.output import new_output, require_space
from enginix.errors import BuildError, EngineDamaged
from enginix.manifest import FILE_NAME, Manifest, check_files, manifest_hash, read_manifest

OCI = "application/vnd.oci.image"
LAYER, CONFIG = f"{OCI}.layer.v1.tar", f"{OCI}.config.v1+json"
MANIFEST, INDEX = f"{OCI}.manifest.v1+json", f"{OCI}.index.v1+json"
ANNOTATION = "org.opencontainers.image"
# Of every file, as in Nix's store and its images.
MTIME, CREATED = 1, "1970-01-01T00:00:01Z"
# Of the tar and the JSON beside the engine's own files.
MARGIN = 1 << 20


def image_name(manifest: Manifest) -> str:
    """As Kubernetes objects name it, without a registry: `qwen3-32b-engine-tp4`."""
    ranks = manifest.parallelism.tp
    return f"{manifest.name}-engine" + (f"-tp{ranks}" if ranks > 1 else "")


def write_image(engine: Path, out: Path, architecture: str) -> Manifest:
    """Write the image layout `out` of an intact engine; on an error, nothing.

    `architecture` is that of the machines that mount it, in Go's spelling: `amd64`, `arm64`. The
    image's tag is the version of enginix.
    """
    manifest = read_manifest(engine)
    check_files(engine, manifest)
    try:
        with new_output(out, replace=False) as layout:
            require_space(layout, sum(manifest.files.values()) + MARGIN)
            _write_layout(layout, engine, manifest, architecture)
    except OSError as error:
        if error.filename and engine in Path(error.filename).parents:
            raise BuildError(f"{error.filename} cannot be read: {error.strerror}") from error
        raise BuildError(
            f"the image cannot be written to {out}: {error.strerror or error}"
        ) from error
    return manifest


def _write_layout(layout: Path, engine: Path, manifest: Manifest, architecture: str) -> None:
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    labels = dict(_labels(engine, manifest))
    layer = _write_layer(blobs, engine, manifest)
    config = {
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created": CREATED, "created_by": "enginix engine oci"}],
    }
    image = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _write_blob(blobs, CONFIG, config),
        "layers": [layer],
        "annotations": labels,
    }
    tag = {f"{ANNOTATION}.ref.name": __version__}
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**_write_blob(blobs, MANIFEST, image), "annotations": tag}],
    }
    (layout / "index.json").write_bytes(_json(index))
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def _labels(engine: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What the image was made from."""
    yield f"{ANNOTATION}.title", image_name(manifest)
    yield f"{ANNOTATION}.version", __version__
    yield "enginix.engine.digest", f"sha256:{manifest_hash(engine)}"
    yield "enginix.engine.kind", manifest.kind
    if manifest.source.repo:
        yield "enginix.engine.source", f"{manifest.source.repo}@{manifest.source.revision}"
    for name, value in asdict(manifest.built_with).items():
        if value is not None:
            yield f"enginix.built-with.{name.replace('_', '-')}", value


def _write_layer(blobs: Path, engine: Path, manifest: Manifest) -> dict[str, Any]:
    partial = blobs / "layer"
    with partial.open("wb") as file:
        hashed = _Hashed(file)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for name in sorted({FILE_NAME, *manifest.files}):
                _add(tar, engine / name, name, manifest.sha256.get(name))
        size = file.tell()
    partial.rename(blobs / hashed.hexdigest)
    return {"mediaType": LAYER, "digest": f"sha256:{hashed.hexdigest}", "size": size}


def _add(tar: tarfile.TarFile, path: Path, name: str, expected: str | None) -> None:
    """Add the file; EngineDamaged unless it has the hash that the manifest records."""
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    info.mode, info.mtime = 0o644, MTIME
    with path.open("rb") as file:
        hashed = _Hashed(file)
        tar.addfile(info, hashed)
    if expected not in (None, hashed.hexdigest):
        raise EngineDamaged(
            f"{path} has sha256 {hashed.hexdigest}, the manifest records {expected}; "
            "build the engine again"
        )


def _write_blob(blobs: Path, media_type: str, content: Mapping[str, Any]) -> dict[str, Any]:
    data = _json(content)
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, sort_keys=True).encode()


class _Hashed(io.RawIOBase):
    """A file, and the sha256 of all that is read from or written to it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._sha256 = hashlib.sha256()

    @property
    def hexdigest(self) -> str:
        return self._sha256.hexdigest()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._sha256.update(data)
        return data

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        return self._file.write(data)
