"""Writes an image as `docker load` reads it, a tar of layers, to the standard output.

usage: stream_layered_image.py CONF
"""

import hashlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO


def main() -> None:
    conf = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    image = json.loads(Path(conf["baseJson"]).read_text(encoding="utf-8"))
    mtime = int(datetime.fromisoformat(image["created"].replace("Z", "+00:00")).timestamp())
    owner = {key: conf[key] for key in ("uid", "gid", "uname", "gname")}

    def owned(info: tarfile.TarInfo) -> tarfile.TarInfo:
        for key, value in {**owner, "mtime": mtime}.items():
            setattr(info, key, value)
        return info

    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        digests = []
        for paths in conf["layers"]:
            with tempfile.TemporaryFile() as layer:
                write_layer(layer, conf["storeDir"], paths, owned)
                digests.append(add_layer(tar, layer))
        with Path(conf["customisationLayer"], "layer.tar").open("rb") as layer:
            digests.append(add_layer(tar, layer))
        image["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{each}" for each in digests]}
        image["history"] = [{"created": image["created"]} for _ in digests]
        config = json.dumps(image, indent=4).encode()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        add_bytes(tar, config_name, config)
        manifest = {
            "Config": config_name,
            "RepoTags": [conf["repoTag"]],
            "Layers": [f"{digest}/layer.tar" for digest in digests],
        }
        add_bytes(tar, "manifest.json", json.dumps([manifest], indent=4).encode())


def write_layer(
    file: BinaryIO,
    store: str,
    paths: list[str],
    owned: Callable[[tarfile.TarInfo], tarfile.TarInfo],
) -> None:
    # Each is a file of its own, as a store that links equal files shows them.
    with tarfile.open(fileobj=file, mode="w") as tar:
        for folder in [*reversed(Path(store).parents), Path(store)][1:]:
            info = tarfile.TarInfo(str(folder))
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(owned(info))
        for path in paths:
            for entry in sorted([Path(path), *Path(path).rglob("*")]):
                tar.inodes.clear()  # type: ignore[attr-defined]
                tar.add(entry, recursive=False, filter=owned)


def add_layer(tar: tarfile.TarFile, layer: BinaryIO) -> str:
    layer.seek(0)
    digest = hashlib.file_digest(layer, "sha256").hexdigest()
    info = tarfile.TarInfo(f"{digest}/layer.tar")
    info.size = layer.seek(0, io.SEEK_END)
    layer.seek(0)
    tar.addfile(info, layer)
    return digest


def add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    main()
