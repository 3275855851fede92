"""`enginix openai --models FILE` takes up a changed file, without a supervisor."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from enginix.cli.openai_models import ReadModel
from enginix.cli.signals import handle_hangup, nothing_to_reload
from enginix.gateway.models.lineup import serve, serve_only
from enginix.gateway.models.state import Gateway
from enginix.serve.files import WatchedFiles, take_up_changes
from enginix.supervision import Configuration

logger = logging.getLogger(__name__)


@asynccontextmanager
async def not_reloading() -> AsyncIterator[None]:
    """SIGHUP changes nothing, until the block ends."""
    _handle_hangup(nothing_to_reload)
    yield


@asynccontextmanager
async def reloading(
    gateway: Gateway,
    files: WatchedFiles,
    first: Sequence[ReadModel],
    read: Callable[[], Sequence[ReadModel]],
) -> AsyncIterator[None]:
    """Serve what the files say, on SIGHUP or when they change, until the block ends.

    `first` is what they said at the start. Models whose rows have not changed are not touched.
    """
    rows = {model.name: model.row for model in first}
    names = [str(path) for path in files.paths]
    gateway.configuration = Configuration(names, files.watched, round(time.time(), 3))

    def tell(why: str | None) -> None:
        assert gateway.configuration is not None, "it has been set above"
        since = gateway.configuration.since if why else round(time.time(), 3)
        gateway.configuration = replace(gateway.configuration, error=why, since=since)

    async def apply(models: Sequence[ReadModel]) -> None:
        changed = [model for model in models if rows.get(model.name) != model.row]
        for model in changed:
            serve(gateway, model.open())
        serve_only(gateway, [model.name for model in models])
        logger.info("read %s again: %d models, %d new", names[0], len(models), len(changed))
        rows.clear()
        rows.update({model.name: model.row for model in models})
        tell(None)

    _handle_hangup(files.asked.set)
    task = asyncio.create_task(take_up_changes(files, read, apply, tell))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _handle_hangup(ask: Callable[[], object]) -> None:
    # SIGTERM finishes the requests that run, and their clients may be on other machines.
    handle_hangup(ask, lambda: signal.raise_signal(signal.SIGTERM))
