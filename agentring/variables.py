"""The AGENTRING_* variables that there are, of all programs, and what is said of others.

A process is given its neighbours' variables, too, so each program knows all names. One that nearly is one of them is
refused: it was meant, and would go unheard where it may be a certificate's or a time-out's. Others are named in the log
and left alone: Kubernetes sets AGENTRING_SERVICE_HOST and the like for a service of that name. Called by settings.py
and by `agentring`.
"""

import difflib
from collections.abc import Iterable, Mapping

PREFIX = "AGENTRING_"
OTHERS = ("config", "pure", "router", "router_ca", "router_cert", "router_key", "token", "token_file")
"""Names of the commands' and the build's."""
SHARED = (
    *("access_log", "access_log_key", "access_log_file_mib"),
    *("listen", "etcd", "etcd_timeout_s", "etcd_ca", "etcd_cert", "etcd_key", "etcd_user"),
    *("etcd_password_file", "tls_cert", "tls_key", "tls_client_ca"),
    *("metrics_listen", "metrics_client_ca", "insecure_plaintext", "insecure_anonymous"),
    *("node_ca", "node_cert", "node_key", "auth", "cluster_secret_file", "cluster", "first_frame_timeout_s"),
    *("self_check_s", "self_check_patience_s", "log_level"),
)
NODES = (
    *(
        "node_id",
        "advertise",
        "data_dir",
        "agent",
        "limits",
        "tenant_metrics",
        "agent_settings",
        "store",
        "store_timeout_s",
        "store_wait_s",
        "weight",
        "caller_metadata",
        "max_turn_timeout_s",
        "label",
        "require",
    ),
    *("audit_log", "lease_ttl_s", "max_clock_skew_s", "join_timeout_s", "drain_timeout_s"),
    *("turn_timeout_s", "heartbeat_s", "merge_bytes", "idle_timeout_s", "tombstone_s", "load_factor"),
    *("max_sessions", "max_memory_mib", "max_running_turns", "max_waiting_turns", "mailbox_size", "max_tasks"),
    *("max_tenant_tasks",),
    *("unwatched_timeout_s", "max_once_keys", "max_once_result_bytes", "once_retention_s", "once_failure_s"),
    *("max_log_bytes", "max_stored_log_bytes", "max_text_bytes", "max_state_bytes", "max_turn_attempts"),
    *("max_history_turns", "max_session_file_bytes", "max_storage_bytes"),
)
ROUTERS = (
    *("shared_port", "workers", "owner_cache_size", "sync_timeout_s", "stop_grace_s"),
    *("connect_timeout_s", "max_connections", "max_streams", "max_buffered_bytes", "max_header_block_bytes"),
    *("max_header_list_bytes", "max_continuations", "ping_burst", "pings_per_s", "settings_burst", "settings_per_s"),
    *("reset_burst", "resets_per_s", "idle_frame_burst", "idle_frames_per_s", "idle_timeout_s", "keepalive_s"),
    *("node_keepalive_s", "keepalive_timeout_s", "reattach_timeout_s"),
)
"""All three as the settings have them (tests/unit/agentring/test_variables.py)."""
_NEAR = 0.8


def unknown(environ: Mapping[str, str], own: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The variables that nearly are one of ours, each with that one, and those that are not at all. own: names of the
    program's settings."""
    names = {f"{PREFIX}{name}".upper() for name in (*own, *OTHERS, *SHARED, *NODES, *ROUTERS)}
    near: dict[str, str] = {}
    strange: list[str] = []
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name.upper() not in names:
            word = name.upper().removeprefix(PREFIX)
            words = [name.removeprefix(PREFIX) for name in sorted(names)]
            found = difflib.get_close_matches(word, words, 1, _NEAR)
            if found:
                near[name] = PREFIX + found[0]
            else:
                strange.append(name)
    return near, strange
