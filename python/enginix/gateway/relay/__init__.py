"""Requests for models of servers that speak these dialects themselves."""

from enginix.gateway.relay.route import relay, relay_to

__all__ = ["relay", "relay_to"]
