"""A configuration for Envoy in front of several gateways that serve the same models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

# One failed check suffices: a killed gateway is out after half a second, a silent one after 2.5 s.
CHECK_INTERVAL = "0.5s"
# The gateway answers /readyz within 1.5 s, however busy its models are.
CHECK_TIMEOUT = "2s"
# The gateway closes idle connections after 5 s; Envoy must do so first, or it sends a request
# into a connection that is being closed.
IDLE_CONNECTION = "4s"
# Of all gateways the one with the least requests is picked, also for another try: a gateway that
# refuses has none, so it is picked until Envoy has noticed. The tries outlast that, CHECK_INTERVAL
# at most: they wait for up to 0.1, 0.3, 0.7 and 1 s.
TRIES_AFTER_THE_FIRST = 4
WAIT_BETWEEN_TRIES = {"base_interval": "0.1s", "max_interval": "1s"}
# What is kept of a request for another try: the gateway's own limit on a body.
RETRIED_BODY_BYTES = 16 << 20
# Envoy's own default of 1024 requests, and of 3 retries at once, would be the bottleneck.
REQUESTS = 65_536
# Milliseconds that a client may read nothing while a stream runs, as with the gateway itself.
STALLED_READER_MS = 60_000
# Milliseconds that a gateway's machine may leave a packet unacknowledged.
UNANSWERED_MS = 10_000

# Linux' socket levels and options, which Envoy's configuration names by number.
SOL_SOCKET, SO_KEEPALIVE = 1, 9
IPPROTO_TCP, TCP_USER_TIMEOUT = 6, 18


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    gateways: Sequence[tuple[str, int]]
    """Host and port of each."""
    host: str = "127.0.0.1"
    port: int = 8080
    admin_port: int = 9901
    """On 127.0.0.1 only: whoever reaches it can stop Envoy."""


def envoy_config(options: EnvoyOptions) -> dict[str, Any]:
    """The bootstrap configuration, as JSON or YAML would hold it."""
    return {
        "admin": {"address": _address("127.0.0.1", options.admin_port)},
        "static_resources": {
            "listeners": [_listener(options)],
            "clusters": [_cluster(options.gateways)],
        },
    }


def _listener(options: EnvoyOptions) -> dict[str, Any]:
    connection_manager = {
        "stat_prefix": "openai",
        # A stream may be silent while its request waits for a model.
        "stream_idle_timeout": "0s",
        "use_remote_address": True,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "local_reply_config": {"body_format": {"json_format": _error()}},
        "route_config": {
            "virtual_hosts": [{"name": "openai", "domains": ["*"], "routes": [_route()]}]
        },
        "http_filters": [_typed("envoy.filters.http.router", "filters.http.router.v3.Router")],
    }
    manager = "filters.network.http_connection_manager"
    return {
        "name": "openai",
        "address": _address(options.host, options.port),
        "socket_options": [
            _socket_option(SOL_SOCKET, SO_KEEPALIVE, 1),
            _socket_option(IPPROTO_TCP, TCP_USER_TIMEOUT, STALLED_READER_MS),
        ],
        "filter_chains": [
            {
                "filters": [
                    _typed(
                        f"envoy.{manager}",
                        f"{manager}.v3.HttpConnectionManager",
                        **connection_manager,
                    )
                ]
            }
        ],
    }


def _route() -> dict[str, Any]:
    return {
        "match": {"prefix": "/"},
        "request_body_buffer_limit": RETRIED_BODY_BYTES,
        "route": {
            "cluster": "gateways",
            # No limit on the whole answer: a stream lasts as long as its tokens.
            "timeout": "0s",
            "retry_policy": {
                # All of these mean that the client has seen no byte. 503 is a gateway that stops
                # or whose model is down; after 502 and 504 another gateway would do no better.
                "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
                "retriable_status_codes": [503],
                "num_retries": TRIES_AFTER_THE_FIRST,
                "retry_back_off": WAIT_BETWEEN_TRIES,
                "retry_host_predicate": [
                    _typed(
                        "envoy.retry_host_predicates.previous_hosts",
                        "retry.host.previous_hosts.v3.PreviousHostsPredicate",
                    )
                ],
                "host_selection_retry_max_attempts": 5,
            },
        },
    }


def _cluster(gateways: Sequence[tuple[str, int]]) -> dict[str, Any]:
    limits = {
        "max_connections": REQUESTS,
        "max_pending_requests": REQUESTS,
        "max_requests": REQUESTS,
        "max_retries": REQUESTS,
    }
    endpoints = [{"endpoint": {"address": _address(*gateway)}} for gateway in gateways]
    return {
        "name": "gateways",
        "type": "STATIC" if all(_is_ip(host) for host, _ in gateways) else "STRICT_DNS",
        "connect_timeout": "1s",
        "load_balancing_policy": {"policies": [{"typed_extension_config": _least_requests()}]},
        "common_lb_config": _health_in_balancing(),
        "health_checks": [_health_check()],
        "outlier_detection": _outliers(),
        "circuit_breakers": {"thresholds": [limits]},
        # These two find a machine that is gone: one while a request is on its way to it, the other
        # while its stream is silent.
        "upstream_bind_config": {
            "socket_options": [
                _socket_option(IPPROTO_TCP, TCP_USER_TIMEOUT, UNANSWERED_MS, "STATE_PREBIND")
            ]
        },
        "upstream_connection_options": {
            "tcp_keepalive": {
                "keepalive_time": 5,
                "keepalive_interval": 2,
                "keepalive_probes": 3,
            }
        },
        "typed_extension_protocol_options": _http_to_gateways(),
        "load_assignment": {
            "cluster_name": "gateways",
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }


def _health_in_balancing() -> dict[str, Any]:
    return {
        # Envoy would otherwise send requests to failed gateways once half of them have failed,
        "healthy_panic_threshold": {"value": 0},
        # and tell its threads up to a second later that a gateway has failed, or is back.
        "update_merge_window": "0s",
    }


def _least_requests() -> dict[str, Any]:
    policy = "load_balancing_policies.least_request"
    # All of a few gateways are compared, not two of them drawn by chance.
    return _typed(f"envoy.{policy}", f"{policy}.v3.LeastRequest", selection_method="FULL_SCAN")


def _health_check() -> dict[str, Any]:
    return {
        "interval": CHECK_INTERVAL,
        # Envoy's default without traffic is a minute.
        "no_traffic_interval": CHECK_INTERVAL,
        "timeout": CHECK_TIMEOUT,
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        # A gateway without API keys on a loopback address refuses other names.
        "http_health_check": {"path": "/readyz", "host": "localhost"},
    }


def _outliers() -> dict[str, Any]:
    """Eject on refused and broken connections alone: a 5xx is often one request's own fault.

    A successful check of /readyz, for which a token came out, ends an ejection.
    """
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "base_ejection_time": "5s",
        "max_ejection_percent": 100,
    }


def _http_to_gateways() -> dict[str, Any]:
    options = "upstreams.http.v3.HttpProtocolOptions"
    name = f"envoy.extensions.{options}"
    settings = {
        "common_http_protocol_options": {"idle_timeout": IDLE_CONNECTION},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    return {name: _typed(name, options, **settings)["typed_config"]}


def _error() -> dict[str, Any]:
    """Envoy's own refusals in the form that OpenAI's clients read."""
    return {
        "error": {
            "message": "Envoy: %LOCAL_REPLY_BODY%",
            "type": "server_error",
            "param": None,
            "code": "%RESPONSE_CODE_DETAILS%",
        }
    }


def _typed(name: str, message: str, **fields: Any) -> dict[str, Any]:
    config = {"@type": f"type.googleapis.com/envoy.extensions.{message}", **fields}
    return {"name": name, "typed_config": config}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _socket_option(
    level: int, name: int, value: int, state: str = "STATE_LISTENING"
) -> dict[str, Any]:
    return {"level": level, "name": name, "int_value": value, "state": state}


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
