"""A program on a pseudo-terminal, as a person sees it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

PATIENCE = 30.0
POLL = 0.01


class Terminal:
    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self._master = master
        self.process = process
        self._text = ""
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def text(self) -> str:
        return self._text

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def shows(self, words: str, *, after: int = 0) -> int:
        """Wait for words; where they end in the text."""
        try:
            async with asyncio.timeout(PATIENCE):
                while (found := self._text.find(words, after)) < 0:
                    assert self.process.returncode is None, self._text
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{words!r} is not in {self._text!r}") from None
        return found + len(words)

    async def waits_for_keys(self) -> None:
        """Wait until the program sleeps.

        Python loses a Ctrl-C that comes after readline has shown its prompt and before it waits.
        """
        stat = Path(f"/proc/{self.process.pid}/stat")
        async with asyncio.timeout(PATIENCE):
            while stat.read_text().rpartition(")")[2].split()[0] != "S":  # noqa: ASYNC110, a process's state
                await asyncio.sleep(POLL)

    async def ends(self) -> int:
        """Wait for its end and read the rest of what it shows; its exit status."""
        async with asyncio.timeout(PATIENCE):
            status = await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        # It fails once everything is read.
        with suppress(OSError):
            while data := os.read(self._master, 65536):
                self._text += data.decode(errors="replace")
        return status

    def hang_up(self) -> None:
        """Close the terminal while its program runs."""
        self.close()
        self._master = -1

    def close(self) -> None:
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)

    def _read(self) -> None:
        # It fails once the program has closed its side.
        with suppress(OSError):
            self._text += os.read(self._master, 65536).decode(errors="replace")
        self._changed.set()
        if self.process.returncode is not None:
            asyncio.get_running_loop().remove_reader(self._master)


@asynccontextmanager
async def terminal(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, columns: int = 80
) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**env, "TERM": "xterm"},
        cwd=cwd,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        # The terminal's Ctrl-C goes to the session that it controls.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    made = Terminal(master, process)
    try:
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        made.close()
