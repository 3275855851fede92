"""Several gateway processes on one port: started, restarted and stopped together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from enginix.cli import environment
from enginix.cli.reexec import own_command
from enginix.cli.signals import run_until_signalled
from enginix.gateway.http.heartbeat import heartbeat_file, until_silent
from enginix.gateway.keys.ledger import forget_counts
from enginix.gateway.models.metrics import forget_worker
from enginix.owned import owned
from enginix.process import describe_exit, started

logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
# A worker whose event loop has not run for this long counts as frozen.
SILENT_SECONDS = 3.5
# In addition to the time that a worker has to stop.
GRACE_SECONDS = 5.0


def run_workers(arguments: Sequence[str], where: str, workers: int, stop_seconds: float) -> None:
    """Run that many `enginix ARGUMENTS --worker` until a signal; restart any that die."""
    command = [*own_command(), *arguments, "--worker"]
    grace = stop_seconds + GRACE_SECONDS
    directory = Path(tempfile.gettempdir())
    with owned("metrics", [directory]) as name:
        metrics = directory / f"{name}files"
        metrics.mkdir(mode=0o700)
        print(f"{where} ({workers} processes)", flush=True)
        pids = set[int]()
        running = _keep_all_running(command, str(metrics), workers, grace, pids)
        run_until_signalled(running, lambda: _send_hangup(pids))


async def _keep_all_running(
    command: Sequence[str], metrics: str, workers: int, grace: float, pids: set[int]
) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(_keep_running(command, metrics, grace, pids))


def _send_hangup(pids: Iterable[int]) -> None:
    """Each worker reads its file of models again."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


async def _keep_running(command: Sequence[str], metrics: str, grace: float, pids: set[int]) -> None:
    variables = environment.with_metrics_directory(metrics)
    while True:
        # A hangup would end a worker that still starts.
        held = [signal.SIGHUP]
        async with started(command, env=variables, grace=grace, held=held) as worker:
            pids.add(worker.pid)
            why = await _ended(worker, metrics)
            pids.discard(worker.pid)
        forget_worker(worker.pid, metrics)
        forget_counts(worker.pid, metrics)
        heartbeat_file(metrics, worker.pid).unlink(missing_ok=True)
        logger.error("a worker %s; restarting it", why)
        if worker.returncode != -signal.SIGKILL:
            # Do not restart a worker that fails at startup in a tight loop.
            await asyncio.sleep(RESTART_SECONDS)


async def _ended(worker: asyncio.subprocess.Process, metrics: str) -> str:
    """How a worker ended; kills a frozen one."""
    ended = asyncio.create_task(worker.wait())
    silent = asyncio.create_task(until_silent(heartbeat_file(metrics, worker.pid), SILENT_SECONDS))
    try:
        await asyncio.wait({ended, silent}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return describe_exit(ended.result())
        # A frozen worker reacts to no other signal.
        worker.kill()
        await ended
        return f"did not move for {SILENT_SECONDS:g} s, was killed"
    finally:
        for task in (ended, silent):
            task.cancel()
        await asyncio.wait({ended, silent})
