"""A running profile: its servers, the gateway in front, and the control socket between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from enginix.serve.control import control_socket
from enginix.serve.environment import Environment
from enginix.serve.gateway import gateway_server, gateway_url
from enginix.serve.model_server import commands_of, managed_model, model_servers
from enginix.serve.profile import Profile
from enginix.serve.reload import Reloader, Sources
from enginix.serve.requested_models import RequestedModels
from enginix.serve.run_directory import control_path, run_directory, written_files
from enginix.serve.scheduler import ModelScheduler
from enginix.serve.supervisor import Report, Server, supervised
from enginix.serve.traffic import Traffic


def may_fail(profile: Profile) -> frozenset[str]:
    """Models whose failed start is tried again while the others serve."""
    names = frozenset(entry.name for entry in profile.models)
    # One broken model does not stop the others from serving; a broken gateway does.
    return names if len(names) > 1 else frozenset()


@asynccontextmanager
async def running_profile(
    profile: Profile, environment: Environment, report: Report, sources: Sources | None = None
) -> AsyncIterator[ModelScheduler]:
    """Everything is started when the block begins, and nothing is left of it when it ends.

    `report` is called with each server that is ready or has failed. Await the scheduler's `expire`
    in the block. Changes of its `sources` are taken up there.
    """
    servers = model_servers(profile, environment)
    commands = commands_of(profile, servers, environment)
    traffic = Traffic(gateway_url(profile.gateway))
    models = [managed_model(server, environment, traffic) for server in servers]
    scheduler = ModelScheduler(
        models, rest=profile.min_residency_seconds, drain=profile.drain_seconds
    )
    started: list[Server] = [
        model.server for model in models if model.server.replicas and not model.entry.on_demand
    ]
    started.append(gateway_server(profile, commands[-1], environment))
    requested = RequestedModels(profile, environment, scheduler, traffic)
    reloader = (
        Reloader(sources, profile, environment, scheduler, requested, traffic) if sources else None
    )
    control = control_path(profile, environment.home)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(traffic.close)
        directory = run_directory(profile, environment.home)
        files = written_files(directory, commands, profile.gateway, environment.logs)
        stack.enter_context(files)
        stack.push_async_callback(scheduler.close)
        configuration = (lambda: reloader.configuration) if reloader else lambda: None
        await stack.enter_async_context(
            control_socket(control, scheduler, requested.find_or_add, configuration)
        )
        await stack.enter_async_context(supervised(started, report, may_fail(profile)))
        if reloader:
            await stack.enter_async_context(reloader.running())
        yield scheduler
