"""A container image as a container runtime would run it, with bubblewrap for the container.

The store paths in an image that the stand-in for nixpkgs made are links to this machine's programs
and packages. Exactly what they lead to is there beside the image, and the libraries of programs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

OWN = ("--unshare-user", "--unshare-pid", "--unshare-ipc")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")


@dataclass(frozen=True, slots=True)
class Image:
    root: Path
    config: dict[str, Any]
    tags: list[str]
    store: Path
    """Where the image has its store paths."""

    @property
    def env(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    def command(self, *arguments: str) -> list[str]:
        """The entry point with these arguments, or else the image's own."""
        return [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]

    def run(self, command: list[str], volumes: Mapping[str, Path] | None = None) -> list[str]:
        """The command line that runs `command` in a container, with these folders read-only.

        As in a pod: with the user and the environment of the image's configuration, a root file
        system that cannot be written, and the network of its neighbours.
        """
        uid, gid = self.config["User"].split(":")
        return [
            *(bwrap(*OWN, "--proc", "/proc", "--dev", "/dev"), "--die-with-parent", *OWN),
            *("--uid", uid, "--gid", gid, "--clearenv"),
            *(word for name, value in self.env.items() for word in ("--setenv", name, value)),
            *("--tmpfs", "/", *self._mounts(), "--proc", "/proc", "--dev", "/dev"),
            *(word for path, source in (volumes or {}).items() for word in bind(source, path)),
            *("--remount-ro", "/", "--chdir", self.config["WorkingDir"], "--", *command),
        ]

    def _mounts(self) -> Iterator[str]:
        # The tests' store may be below /tmp, where a container has a folder of its own.
        yield from ("--perms", "1777", "--tmpfs", "/tmp")
        yield from bind(self.root / self.store.relative_to("/"), str(self.store))
        for entry in sorted(self.root.iterdir()):
            if entry.is_symlink():
                yield from ("--symlink", os.readlink(entry), f"/{entry.name}")
            elif entry.name not in ("tmp", self.store.parts[1]):
                yield from bind(entry, f"/{entry.name}")
        for path in sorted(self._of_this_machine()):
            yield from bind(Path(path), path)

    def _of_this_machine(self) -> set[str]:
        """What links in the image lead to outside of it, and what that needs."""
        entries = self.root.rglob("*")
        targets = {os.readlink(entry) for entry in entries if entry.is_symlink()}
        outside = {path for path in targets if path.startswith("/") and os.path.exists(path)}
        wanted = {path for path in outside if not Path(path).is_relative_to(self.store)}
        python = {sys._base_executable, sysconfig.get_config_var("LIBDIR")}  # type: ignore[attr-defined]
        # A system that the image brings itself has its own.
        return {path for path in wanted | python | set(LIBRARIES) if self._lacks(Path(path))}

    def _lacks(self, path: Path) -> bool:
        first = self.root / path.parts[1]
        return path.exists() and not first.is_symlink()


def bwrap(*options: str) -> str:
    """The program; skips the test where it is missing, or must not do what these options ask."""
    found = shutil.which("bwrap")
    if found is None:
        pytest.skip("there is no bubblewrap here; on Debian and Ubuntu: apt install bubblewrap")
    probe = [found, "--ro-bind", "/", "/", *options, "true"]
    works = subprocess.run(probe, capture_output=True, text=True)
    if works.returncode != 0:
        pytest.skip(f"bubblewrap cannot work here: {works.stderr.strip()}")
    return found


def bind(source: Path, path: str) -> list[str]:
    return ["--ro-bind", str(source), path]


def load(stream: Path, root: Path, store: Path) -> Image:
    """What `docker load` does with the output of the script `stream`: unpacks layer after layer."""
    archive = root.with_suffix(".tar")
    with archive.open("wb") as file:
        subprocess.run([stream], stdout=file, check=True)
    with tarfile.open(archive) as tar:
        [manifest] = read_json(tar, "manifest.json")
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=tar.extractfile(layer)) as files:
                files.extractall(root, filter="fully_trusted")
        config = read_json(tar, manifest["Config"])["config"]
    archive.unlink()
    return Image(root, config, manifest["RepoTags"], store)


def read_json(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    assert file is not None
    return json.load(file)


def unpack_layout(layout: Path, root: Path) -> Path:
    """The files of an OCI image layout's only image, as a container runtime mounts them."""
    [image] = json.loads((layout / "index.json").read_text())["manifests"]
    [layer] = json.loads(blob(layout, image).read_text())["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    with tarfile.open(blob(layout, layer), "r:") as tar:
        tar.extractall(root, filter="data")
    return root


def blob(layout: Path, descriptor: Mapping[str, str]) -> Path:
    return layout / "blobs" / descriptor["digest"].replace(":", "/")
