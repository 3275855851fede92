"""Serves an application with uvicorn, and stops it without breaking off answers.

After the first SIGTERM or SIGINT /readyz is a 503; after the shutdown delay new requests get one
too while running answers finish; when the last is done, or the drain time is up, the server ends.
A second signal ends it at once.
"""

from __future__ import annotations

import gc
import logging
import socket
import sys
import time
from types import FrameType

import uvicorn

from enginix.gateway.app import Application
from enginix.gateway.http.protocol import BoundedHttp
from enginix.gateway.models.state import Gateway
from enginix.gateway.settings import LoadLimits

logger = logging.getLogger(__name__)

# Time to send an interrupted stream's last event.
SHUTDOWN_SECONDS = 2
# Reference counting frees tokens; only requests create cycles that need the collector.
YOUNG_OBJECTS = 20_000
# How long a computing thread may hold the GIL before the event loop runs. With Python's default of
# 5 ms, a template that loops in its thread delays every token of every stream by as much.
SWITCH_SECONDS = 0.0005


class DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, limits: LoadLimits) -> None:
        super().__init__(config)
        self._limits = limits
        self._refuses = float("inf")
        """When it refuses new requests."""
        self._deadline: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._deadline is not None:
            # Do not call the base class: it would re-raise the signal after a clean shutdown.
            self.should_exit = self.force_exit = True
            return
        delay = self._limits.shutdown_delay
        self._refuses = time.monotonic() + delay
        self._deadline = self._refuses + self._limits.drain
        gateway = self._gateway()
        if gateway is None:
            self.should_exit = True
            return
        gateway.leaving = True
        if delay > 0:
            logger.info("accepting requests for %g s more; a second signal ends all", delay)
        else:
            self._refuse(gateway)

    async def on_tick(self, counter: int) -> bool:
        gateway, now = self._gateway(), time.monotonic()
        if self._deadline is not None and gateway is not None and now >= self._refuses:
            if not gateway.stopping:
                self._refuse(gateway)
            if not gateway.busy:
                self.should_exit = True
            elif now > self._deadline:
                logger.warning("ending %d unfinished requests", gateway.busy)
                gateway.interrupt()
                self.should_exit = True
        return await super().on_tick(counter)

    def _refuse(self, gateway: Gateway) -> None:
        gateway.stopping = True
        if gateway.busy:
            logger.info("finishing %d requests; a second signal ends them", gateway.busy)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Exclude startup objects from collection: scanning them repeatedly took 5% of all time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        sys.setswitchinterval(SWITCH_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            # asyncio now cancels the application's lifespan, which uvicorn logs with a traceback.
            logging.getLogger("uvicorn.error").disabled = True

    def _gateway(self) -> Gateway | None:
        return self.lifespan.state.get("gateway") if self.started else None


def serve(app: Application, listener: socket.socket, limits: LoadLimits) -> None:
    """Serve until a signal."""
    DrainingServer(server_config(app), limits).run([listener])


def server_config(app: Application) -> uvicorn.Config:
    return uvicorn.Config(
        app.answer,
        # It would look for a coroutine function, which this is not.
        interface="asgi3",
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def listen(host: str, port: int, *, shared: bool, stalled_reader: float) -> socket.socket:
    """A listening socket whose connections are closed when their client stops reading.

    `shared`: several processes listen on the same port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server(
        (host, port),
        family=family,
        backlog=2048,
        reuse_port=shared,
        # All addresses of the machine are IPv4's, too.
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )
    # The kernel detects a client that does not read: a full window, or a machine that is gone.
    # Accepted connections inherit these options.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stalled_reader * 1000))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    return listener
