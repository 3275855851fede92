"""Which models a gateway serves: adds, replaces and removes them while it runs.

Requests finish with the model that they started with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from enginix.gateway.models.model import Model
from enginix.gateway.models.model_state import ModelState
from enginix.gateway.models.registry import Models
from enginix.gateway.models.state import Gateway


def serve(gateway: Gateway, models: Sequence[Model]) -> None:
    """Serve a model and its adapters, in place of all that its server had before."""
    for model in models:
        _serve(gateway, model)
    names, server = {model.name for model in models}, models[0].served_by
    states = gateway.states.items()
    _keep(
        gateway,
        [name for name, state in states if name in names or state.model.served_by != server],
    )


def serve_only(gateway: Gateway, names: Sequence[str]) -> None:
    """Serve these models and their adapters, in this order, and no others."""
    states = gateway.states.items()
    kept = [one for name in names for one, state in states if state.model.served_by == name]
    if kept != [*gateway.states]:
        _keep(gateway, kept)


def _serve(gateway: Gateway, model: Model) -> None:
    gateway.metrics.begin_at_zero([model.name])
    if state := gateway.states.get(model.name):
        gateway.note_late_tokens(state)
        _retire(gateway, state)
        state.serve(model, gateway.metrics)
    else:
        state = gateway.new_state(model)
        gateway.states = {**gateway.states, model.name: state}


def _keep(gateway: Gateway, names: Sequence[str]) -> None:
    for name in gateway.states.keys() - set(names):
        _retire(gateway, gateway.states[name])
    # Whoever goes through the earlier states is not disturbed.
    gateway.states = {name: gateway.states[name] for name in names}
    gateway.models = Models([state.model for state in gateway.states.values()])


def _retire(gateway: Gateway, state: ModelState) -> None:
    task = asyncio.create_task(state.closed_later())
    gateway.retiring.add(task)
    task.add_done_callback(gateway.retiring.discard)
