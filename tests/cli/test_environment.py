"""A child gets the user's variables, and only the secrets that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.cli import environment


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "ENGINIX_API_KEYS",
        "OPENAI_API_KEY",
        "VLLM_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "PGPASSWORD",
        "DB_PASSWORD",
        "CLIENT_SECRET",
        "github_token",
        "TOKEN",
    ],
)
def test_a_child_does_not_get_secrets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert name not in environment.for_child()
    assert environment.for_child([name])[name] == "x"


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "LD_LIBRARY_PATH",
        "CUDA_VISIBLE_DEVICES",
        "NCCL_DEBUG",
        "HTTPS_PROXY",
        "no_proxy",
        "HF_HOME",
        "HF_ENDPOINT",
        "TOKENIZERS_PARALLELISM",
        "MAX_TOKENS",
        "VLLM_CPU_KVCACHE_SPACE",
        "SSL_CERT_FILE",
    ],
)
def test_a_child_gets_variables_that_are_not_secret(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "x")
    assert environment.for_child()[name] == "x"


def test_every_child_gets_the_secrets_that_the_user_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINIX_PASS_SECRETS", "MY_TOKEN, NOT_SET_TOKEN")
    monkeypatch.setenv("MY_TOKEN", "x")
    monkeypatch.setenv("HF_TOKEN", "y")
    assert environment.for_child()["MY_TOKEN"] == "x"
    assert "HF_TOKEN" not in environment.for_child()


def test_a_child_can_pass_its_named_secrets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "x")
    for name, value in environment.for_server(["MY_TOKEN"], False).items():
        monkeypatch.setenv(name, value)
    assert environment.for_child()["MY_TOKEN"] == "x"


def test_tensorrt_llms_runtime_goes_by_its_earlier_name_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ENGINIX_RUNTIME_TENSORRT_LLM", raising=False)
    monkeypatch.setenv("ENGINIX_RUNTIME_TRTLLM", str(tmp_path))
    assert environment.runtime_override("trtllm") == tmp_path
