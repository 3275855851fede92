"""The panels of the dashboard, over the gateway's metrics, by row."""

from __future__ import annotations

from enginix.deploy.grafana import Panel
from enginix.deploy.prometheus import FAULTS, WAITING_IN_SERVER
from enginix.deploy.queries import (
    ANSWERED,
    GATEWAY,
    KEY,
    STATES,
    YES_OR_NO,
    latency,
    number,
    per_second,
    quantile,
    series,
    share,
    state_number,
    timeline,
    total,
)

DISK_FREE = series("enginix_disk_free_bytes", chosen=GATEWAY)
DISK_SIZE = series("enginix_disk_size_bytes", chosen=GATEWAY)
KV_CACHE = series("nv_trt_llm_kv_cache_block_metrics", 'kv_cache_block_type="fraction"')
LOADED = series("enginix_server_state", 'state="loaded"')

OVERVIEW = [
    number(
        "Models without tokens",
        "Loaded models out of which no token comes. Above 0: see Servers below, then "
        "`enginix logs` and the model's reason in /v1/status.",
        f"count({series('enginix_model_healthy')} == 0) or vector(0)",
        limits=[(1, "red")],
    ),
    number(
        "Running",
        "Requests that are being answered. At the engine's batch size further ones wait.",
        total("", "enginix_running_requests"),
    ),
    number(
        "Waiting",
        "Requests in the gateways' queues, beyond --max-running. If it stays above 0, add a "
        "replica or limit keys.",
        total("", "enginix_waiting_requests"),
        limits=[(1, "orange")],
    ),
    number(
        "Requests per second",
        "Answered requests for models, with errors.",
        per_second("", "enginix_requests_total", ANSWERED),
        "reqps",
    ),
    number(
        "Tokens per second",
        "Generated tokens of all models.",
        per_second("", "enginix_generated_tokens_total"),
    ),
    number(
        "Failed",
        "Share of requests that failed, without the clients' own mistakes. See Errors below.",
        share(
            f"({per_second('', 'enginix_errors_total', FAULTS)} or vector(0))",
            per_second("", "enginix_requests_total", ANSWERED),
        ),
        "percentunit",
        [(0.01, "orange"), (0.05, "red")],
    ),
    number(
        "First token, p90",
        "Seconds that nine of ten requests wait at most for their first token.",
        quantile(0.9, "enginix_first_token_seconds", by=""),
        "s",
    ),
    number(
        "Disk used",
        "Of the file system with logs, usage and engines. `enginix gc` and `enginix rm` free some.",
        f"max(1 - {DISK_FREE} / {DISK_SIZE})",
        "percentunit",
        [(0.8, "orange"), (0.95, "red")],
    ),
]

MODELS = [
    timeline(
        "Generates",
        "Whether tokens come out of a loaded model. No: see its server's log.",
        {"{{model}} at {{instance}}": series("enginix_model_healthy")},
        YES_OR_NO,
    ),
    Panel(
        "Requests",
        "Answered per second, with errors.",
        {"{{model}}": per_second("model", "enginix_requests_total", ANSWERED)},
        "reqps",
    ),
    Panel(
        "Running",
        "Requests that are being answered.",
        {"{{model}}": total("model", "enginix_running_requests")},
    ),
    Panel(
        "Generated tokens",
        "Per second. None while requests run: the model is wedged, or reads a very long prompt.",
        {"{{model}}": per_second("model", "enginix_generated_tokens_total")},
    ),
    Panel(
        "Prompt tokens",
        "Per second, counted when a request ends.",
        {"{{model}}": per_second("model", "enginix_prompt_tokens_total")},
    ),
    Panel(
        "Drafted tokens that were right",
        "Share, of models that draft tokens ahead. Low: draft fewer, or with a better draft model.",
        {
            "{{model}}": share(
                per_second("model", "enginix_accepted_tokens_total"),
                per_second("model", "enginix_drafted_tokens_total"),
            )
        },
        "percentunit",
    ),
    Panel(
        "Prompt tokens from the cache",
        "Share of prompts that the model had in its KV cache; only of models that say so. If it "
        "drops, conversations go to other replicas, or the cache is too small.",
        {
            "{{model}}": share(
                per_second("model", "enginix_cached_prompt_tokens_total"),
                per_second("model", "enginix_prompt_tokens_total"),
            )
        },
        "percentunit",
    ),
]

LATENCIES = [
    latency(
        "First token",
        "enginix_first_token_seconds",
        "From the request to its first token. High with a queue: add a replica. High without: "
        "prompts are long, or the KV cache is full.",
    ),
    latency(
        "Between tokens",
        "enginix_inter_token_seconds",
        "High: too many requests share a server, or long prompts interrupt it; lower "
        "--max-running or the engine's batch.",
    ),
    latency(
        "Whole request",
        "enginix_request_seconds",
        "From the request to the last byte: it grows with the answer's length.",
    ),
]

QUEUES = [
    Panel(
        "Waiting",
        "In the gateway's queue, and in the server's own where it tells. A queue that grows needs "
        "another replica, or a lower --max-waiting so that requests are refused early.",
        {
            "{{model}} at the gateway": total("model", "enginix_waiting_requests"),
            "{{model}} in its server": f"max by (model) ({series(*WAITING_IN_SERVER)})",
        },
    ),
    latency(
        "Time in the gateway's queue",
        "enginix_queue_seconds",
        "Requests that are admitted at once count as 0.",
    ),
    Panel(
        "Stalled",
        "Requests without a first token for 3 s while three later ones have theirs: part of the "
        "server hangs. A supervisor probes it and starts it again.",
        {"{{model}}": total("model", "enginix_stalled_requests")},
    ),
]

ERRORS = [
    Panel(
        "Answers that are no 200",
        "Per second, by status. 4xx are mistakes of clients, and 429 also limits and full queues; "
        "5xx are ours.",
        {"{{status}}": per_second("status", "enginix_requests_total", 'status!="200"')},
        "reqps",
    ),
    Panel(
        "Errors by kind",
        "Per second, also those in the middle of a stream. Backend*, GenerationFailed: the model's "
        "server; look at its log.",
        {"{{kind}} {{model}}": per_second("kind, model", "enginix_errors_total")},
        "reqps",
    ),
    Panel(
        "Clients that left",
        "Per second, and tokens that still arrived for them: many mean that a server ignores "
        "cancellation.",
        {
            "{{model}}": per_second("model", "enginix_cancelled_requests_total"),
            "{{model}}: late tokens": per_second("model", "enginix_tokens_after_cancel_total"),
        },
    ),
]

SERVERS = [
    timeline(
        "State",
        "Of each model's server, as its supervisor tells: loads and unloads, and errors between "
        "restarts.",
        {"{{model}} at {{instance}}": state_number()},
        STATES,
        width=12,
    ),
    Panel(
        "Loads and unloads",
        "Changes of the last 10 minutes. Many: models take turns in too little memory; give "
        "some of them another GPU, or a longer ttl_seconds.",
        {"{{model}}": f"max by (model) (changes({LOADED}[10m]))"},
        width=6,
    ),
    Panel(
        "Restarts",
        "Of the last 10 minutes: the server ended, or was wedged. The reason is last_error in "
        "/v1/status, and at the end of `enginix logs`.",
        {"{{model}}": f"max by (model) (increase({series('enginix_server_restarts_total')}[10m]))"},
        width=6,
    ),
    Panel(
        "KV cache",
        "In use, of servers that tell. Near 100%: requests wait although the batch has room; "
        "lower max_seq_len, or give it more memory.",
        {"{{model}}": f"max by (model) ({KV_CACHE})"},
        "percentunit",
    ),
    timeline(
        "Replicas in rotation",
        "Of models with several servers: one that is not gets no requests, because no tokens come "
        "out of it. Its reason is in /v1/status.",
        {"{{model}} {{replica}}": series("enginix_replica_in_rotation")},
        YES_OR_NO,
    ),
    Panel(
        "Requests of each replica",
        "That run there, and that began again elsewhere (per second).",
        {
            "{{replica}}": total("replica", "enginix_replica_running_requests"),
            "{{replica}}: left": per_second("replica", "enginix_replica_retried_requests_total"),
        },
    ),
]

KEYS = [
    Panel(
        "Requests of each key",
        "Per second. One key that crowds out others: set its max_running or requests_per_minute.",
        {"{{key}}": per_second("key", "enginix_key_requests_total", chosen=KEY)},
        "reqps",
    ),
    Panel(
        "Failed requests of each key",
        "Share: errors, refusals and clients that left.",
        {
            "{{key}}": share(
                per_second("key", "enginix_key_failed_requests_total", chosen=KEY),
                per_second("key", "enginix_key_requests_total", chosen=KEY),
            )
        },
        "percentunit",
    ),
    Panel(
        "Tokens of each key",
        "Per second, of answers and of prompts: a key's tokens_per_minute counts both.",
        {
            "{{key}}: answers": per_second("key", "enginix_key_generated_tokens_total", chosen=KEY),
            "{{key}}: prompts": per_second("key", "enginix_key_prompt_tokens_total", chosen=KEY),
        },
    ),
    Panel(
        "Tokens by key and model",
        "Generated in the time range that is shown. `enginix usage` has the exact counts.",
        {
            "": "sort_desc(sum by (key, model) (increase("
            + series("enginix_key_generated_tokens_total", chosen=KEY)
            + "[$__range])))"
        },
        kind="table",
        width=24,
    ),
]
