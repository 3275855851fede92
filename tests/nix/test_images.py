"""Container images from Nix: what is in them, and the demo's run for real, as a pod runs them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nix.container import Image, load, unpack_layout
from nix.on_this_machine import ROOT, Nix
from nix.servers import chat, free_port
from nix.tiny_image import make_image

from enginix import __version__
from enginix.catalog.load import load_catalog
from enginix.deploy.kubernetes.release import release_of
from nix import servers

pytestmark = pytest.mark.nix

# Engine kinds that Nix has a runtime for.
BUILT = ("gguf", "tensorrt-llm")


def load_image(nix: Nix, stream: Path, root: Path) -> Image:
    return load(stream, root, Path(nix.env["NIX_STORE_DIR"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def gateway(nix: Nix, folder: Path) -> Image:
    [stream] = nix.build("image-gateway")
    return load_image(nix, stream, folder / "gateway")


@pytest.fixture(scope="module")
def triton(nix: Nix, folder: Path) -> Image:
    [stream] = nix.build("image-tritonserver-demo")
    return load_image(nix, stream, folder / "triton")


@pytest.fixture(scope="module")
def engine(nix: Nix, folder: Path) -> Path:
    """The engine's volume."""
    [layout] = nix.build("demo-engine.oci")
    return unpack_layout(layout, folder / "engine")


@contextmanager
def running(image: Image, engine: Path, *arguments: str, until: str) -> Iterator[None]:
    command = image.run(image.command("/engine", *arguments), {"/engine": engine})
    with servers.running(command, {}, until=until):
        yield


def is_healthy(image: Image, port: int) -> bool:
    """What Docker asks inside the container, on another port."""
    word, *test = image.config["Healthcheck"]["Test"]
    assert word == "CMD"
    default = next(iter(image.config["ExposedPorts"])).removesuffix("/tcp")
    command = [each.replace(f":{default}/", f":{port}/") for each in test]
    return subprocess.run(image.run(command), capture_output=True).returncode == 0


def test_a_chat_goes_through_the_demos_images_and_the_engines_volume(
    triton: Image, gateway: Image, engine: Path
) -> None:
    http, grpc, metrics, port = (free_port() for _ in range(4))
    ports = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    flags = [f"--port={port}", f"--triton=127.0.0.1:{grpc}"]
    with (
        running(triton, engine, *ports, until="Triton serves demo"),
        running(gateway, engine, *flags, until="The OpenAI API is at"),
    ):
        assert "Paris" in chat(port, "What is the capital of France?")
        assert is_healthy(triton, http)
        assert is_healthy(gateway, port)
    assert not is_healthy(gateway, port)


def test_the_engines_volume_is_the_engine(nix: Nix, engine: Path) -> None:
    [built] = nix.build("demo-engine")
    assert {path.name: path.read_bytes() for path in engine.iterdir()} == {
        path.name: path.read_bytes() for path in built.iterdir()
    }


def test_an_image_says_what_it_is_and_runs_as_nobodys_user(triton: Image) -> None:
    assert triton.tags == [f"enginix/tritonserver-demo:{__version__}"]
    assert triton.config["User"] == "1000:1000"
    assert (triton.root / "tmp").stat().st_mode & 0o7777 == 0o1777
    labels = triton.config["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert (labels["enginix.model"], labels["enginix.engine.kind"]) == ("demo", "gguf")


def test_a_command_of_an_image_is_found_by_its_name(gateway: Image) -> None:
    # Kubernetes objects replace the entry point.
    said = subprocess.run(gateway.run(["enginix", "models"]), capture_output=True, text=True)
    assert "demo" in said.stdout, said.stderr


def test_an_image_is_the_same_when_it_is_written_again(nix: Nix) -> None:
    [stream] = nix.build("image-gateway")
    first, again = (subprocess.run([stream], capture_output=True, check=True) for _ in range(2))
    assert first.stdout == again.stdout


def test_an_engine_is_in_the_image_only_if_it_is_asked_for(nix: Nix) -> None:
    [built] = nix.build("demo-engine")
    for name, expected in (("", False), (".withEngine", True)):
        [stream] = nix.build(f"image-tritonserver-demo{name}")
        parts = nix.run("path-info", "--recursive", stream).stdout.split()
        assert (str(built) in parts) == expected


@pytest.mark.parametrize("system", ["x86_64-linux", "aarch64-linux"])
def test_kubernetes_objects_name_the_images(nix: Nix, system: str) -> None:
    name = (
        'package: if package ? imageTag then "${package.imageName}:${package.imageTag}" else null'
    )
    packages = nix.evaluate(f"packages.{system}", f"builtins.mapAttrs (_: {name})")
    images = {image for image in packages.values() if image}
    named = set()
    for model in load_catalog().values():
        for variant in model.variants.values() if model.kind in BUILT else ():
            ranks = variant.tensor_parallel
            release = release_of(
                model, ranks, gpus_per_node=8, registry="enginix", gateway="g", replicas=1
            )
            named |= {release.server_image, release.gateway_image}
            engine = release.engine_image.removeprefix("enginix/").removesuffix(f":{__version__}")
            assert engine in packages
    assert images == named


def test_the_image_for_a_gpu_has_nvidias_file_system_as_its_root(nix: Nix, folder: Path) -> None:
    # The commands' own bash, which is the store's with the real nixpkgs.
    nvidia = make_image(folder / "nvidia", "bash")
    # Which program it is does not matter here, only that it is the image's.
    (nvidia / "usr" / "bin" / "python3").symlink_to("sh")
    overlay = f'(builtins.getFlake "git+file://{ROOT}").overlays.default'
    site = (
        "final: before: { enginixPackages = before.enginixPackages.overrideScope (_: own: { "
        "tensorrt-llm-runtime = own.tensorrt-llm-runtime.override "
        f"{{ image = {nvidia}; }}; }}); }}"
    )
    config = "config.allowUnfreePredicate = _: true;"
    packages = f"(import {nix.nixpkgs} {{ overlays = [ {overlay} ({site}) ]; {config} }})"
    done = nix.build_expression(f"{packages}.enginixPackages.image-tritonserver-qwen3-tp4")
    assert done.returncode == 0, done.stderr
    image = load_image(nix, Path(done.stdout.strip()), folder / "qwen3")
    # Container runtimes write there.
    assert (image.root / "etc").is_dir()
    assert not (image.root / "etc").is_symlink()
    python = f"{image.env['ENGINIX_RUNTIME_TENSORRT_LLM']}/bin/python"
    command = image.run([python, "-c", "cat /etc/os-release; echo $LD_LIBRARY_PATH"])
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.stdout.startswith("NAME=tiny\n"), said.stderr
    assert "/usr/local/tensorrt/lib" in said.stdout
    assert image.env["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    # Our own programs keep their libraries, and a pod gets the GPUs it asks for.
    assert not {"LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES"} & set(image.env)
