"""Named keys in a gateway of several processes: limits are exact, whoever dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import httpx
from fakes.chat_server import chat_server, completion, texts

from enginix.gateway.keys.key import digest_of
from enginix.process import descendants
from tests.end_to_end.gateway_process import RunningGateway, models_gateway
from tests.oracle import tap

LIMIT = 12
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def files(directory: Path, url: str) -> tuple[Path, Path]:
    """The models, and the keys: sk-some has LIMIT requests per minute, sk-one one at a time."""
    models, keys = directory / "models.json", directory / "keys.toml"
    models.write_text(json.dumps({"models": [{"name": "m", "url": url}]}))
    hashes = {name: f"sha256:{digest_of(f'sk-{name}').hex()}" for name in ("some", "one")}
    keys.write_text(
        f'[keys.some]\nhash = "{hashes["some"]}"\nrequests_per_minute = {LIMIT}\n'
        f'[keys.one]\nhash = "{hashes["one"]}"\nmax_running = 1\n'
    )
    keys.chmod(0o600)
    return models, keys


async def ask(gateway: RunningGateway, name: str, *, stream: bool = False) -> int:
    """The status; each request on its own connection, so that every worker gets some."""
    headers = {"Authorization": f"Bearer sk-{name}"}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        path, body = f"{gateway.base_url}/chat/completions", {**ASKED, "stream": stream}
        try:
            return (await client.post(path, json=body, headers=headers)).status_code
        except httpx.TransportError:
            # Its worker was killed.
            return 0


async def test_limits_are_exact_across_processes_and_a_killed_one_holds_nothing(
    tmp_path: Path,
) -> None:
    async with chat_server(completion(*texts("Hi"))) as (model, url):
        models, keys = files(tmp_path, url)
        with models_gateway(models, "--workers=3", f"--api-keys={keys}") as gateway:
            # It passes on what a stand-in writes.
            tap.OWN_PORTS.discard(int(gateway.url.rpartition(":")[2]))
            begin = time.monotonic()
            found = await asyncio.gather(*(ask(gateway, "some", stream=True) for _ in range(40)))
            made_up = (time.monotonic() - begin) * LIMIT / 60
            assert set(found) == {200, 429}
            assert LIMIT <= found.count(200) <= LIMIT + made_up

            model.stays_after = 1
            model.began.clear()
            running = asyncio.create_task(ask(gateway, "one", stream=True))
            await model.began.wait()
            assert {await ask(gateway, "one", stream=True) for _ in range(9)} == {429}
            for worker in descendants(gateway.process.pid):
                os.kill(worker, signal.SIGKILL)
            assert await running == 0
            model.stays_after = None
            async with asyncio.timeout(60):
                while await ask(gateway, "one", stream=True) != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
