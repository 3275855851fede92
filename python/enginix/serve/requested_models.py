"""Makes models from load requests while a profile runs."""

from __future__ import annotations

from pathlib import Path

from enginix.errors import EngineError, RequestError, RuntimeMissing, UsageError
from enginix.serve.environment import Environment
from enginix.serve.load_request import entry_of
from enginix.serve.managed_model import ManagedModel
from enginix.serve.model_entry import ModelEntry
from enginix.serve.model_server import managed_model, model_server, require_installed
from enginix.serve.ports import with_free_ports
from enginix.serve.profile import Profile
from enginix.serve.run_directory import write_files
from enginix.serve.scheduler import ModelScheduler
from enginix.serve.traffic import Traffic
from enginix.supervision import LoadRequest


class RequestedModels:
    def __init__(
        self,
        profile: Profile,
        environment: Environment,
        scheduler: ModelScheduler,
        traffic: Traffic,
    ) -> None:
        self.profile = profile
        """The one in force."""
        self._environment = environment
        self._scheduler = scheduler
        self._traffic = traffic

    @property
    def _roots(self) -> list[Path]:
        home = self._environment.home
        # Engines and checkpoints in enginix' own directory may always be loaded.
        return [*map(Path, self.profile.model_roots), home / "engines", home / "checkpoints"]

    async def find_or_add(self, request: LoadRequest) -> ManagedModel:
        """The requested model, added or changed but not loaded; RequestError says why not."""
        entries = {name: model.entry for name, model in self._scheduler.models.items()}
        entry = entry_of(request, entries, self._roots)
        if entries.get(entry.name) == entry:
            return self._scheduler.find(entry.name)
        model = self._made(*with_free_ports([entry]))
        if entry.name in entries:
            await self._scheduler.unload(entry.name, drain=self.profile.drain_seconds)
        self._scheduler.add(model)
        return model

    def _made(self, entry: ModelEntry) -> ManagedModel:
        try:
            require_installed(entry, self._environment)
            server = model_server(self.profile, entry, self._environment)
        except (RuntimeMissing, EngineError) as error:
            raise RequestError(str(error), param="model", code="not_installed") from None
        except UsageError as error:
            raise RequestError(str(error), param="speculative") from None
        for replica in server.replicas:
            write_files(replica.command)
        return managed_model(server, self._environment, self._traffic)
