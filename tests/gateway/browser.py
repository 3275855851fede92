"""Drives Chromium through its debugging pipe: opens pages, runs scripts in them, takes pictures."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "there is no Chromium here: apt install chromium"
# It reads commands from descriptor 3 and writes to 4.
PIPED = 'exec "$@" 3<&%d 4>&%d'


class Tab:
    """One tab. `faults` are the errors that its console has shown."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._calls = 0
        self._session: str | None = None
        self.faults: list[str] = []

    async def listen(self, reader: asyncio.StreamReader) -> None:
        while message := await reader.readuntil(b"\0"):
            said = json.loads(message[:-1])
            if answer := self._answers.pop(said.get("id"), None):
                answer.set_result(said)
            elif said.get("method") == "Runtime.exceptionThrown":
                self.faults.append(str(said["params"]["exceptionDetails"]))
            elif said.get("method") == "Log.entryAdded":
                entry = said["params"]["entry"]
                # An error status is no fault of the page.
                if entry["level"] == "error" and entry["source"] != "network":
                    self.faults.append(entry["text"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = self._calls = self._calls + 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        self._writer.write(json.dumps(command).encode() + b"\0")
        said = await asyncio.wait_for(answer, 30)
        assert "error" not in said, said["error"]
        result = said["result"]
        assert isinstance(result, dict)
        return result

    async def attach(self) -> None:
        made = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            await self.call(f"{domain}.enable")

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        answer = await self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Return once an expression is true."""
        await self.run(
            # While the document is still being read, parts of it are missing.
            "new Promise((done) => { const holds = () => "
            f"{{ try {{ return {condition} }} catch {{}} }};"
            " const look = () => holds() ? done() : setTimeout(look, 20); look(); })"
        )

    async def text(self, selector: str) -> str:
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def click(self, selector: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def fill(self, selector: str, text: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if (key, kind) == ("Enter", "keyDown") else {}
            code = {"Enter": 13, "Tab": 9, "Escape": 27}.get(key, 0)
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **text,
            )

    async def size(self, width: int, height: int = 900) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def scheme(self, name: str) -> None:
        """`light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Tab]:
    """A new Chromium with one tab."""
    assert BROWSER
    to_browser, our_writes = os.pipe()
    our_reads, from_browser = os.pipe()
    fds = (to_browser, from_browser)
    program = await asyncio.create_subprocess_exec(
        *("bash", "-c", PIPED % fds, "bash", BROWSER, "--headless", "--no-sandbox"),
        *("--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"),
        # A name that is neither a loopback address nor has TLS.
        "--host-resolver-rules=MAP enginix.test 127.0.0.1",
        pass_fds=fds,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    for each in fds:
        os.close(each)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=64 << 20)
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(our_reads, "rb")
    )
    writing, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(), os.fdopen(our_writes, "wb")
    )
    tab = Tab(asyncio.StreamWriter(writing, protocol, None, loop))
    listening = asyncio.create_task(tab.listen(reader))
    try:
        await tab.attach()
        yield tab
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        reading.close()
        writing.close()
        program.terminate()
        await program.wait()
