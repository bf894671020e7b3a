"""What one call may carry, and the settings of channels that follow."""

from typing import Final

from agentring import metadata

MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_HOSTED_MESSAGE_BYTES: Final = 4 << 20
"""Of a request to a method that is not ours: gRPC's own default, which a service may set lower or not."""
MAX_METADATA_BYTES: Final = 8 << 10
"""As HTTP/2 counts them, 32 bytes beside each name and value."""

# A channel's own refusals carry no ErrorInfo, so its limits lie above ours: what we refuse, we can explain.
_CORE_MESSAGE_BYTES = 8 * MAX_MESSAGE_BYTES
_CORE_METADATA_BYTES = 8 * MAX_METADATA_BYTES

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", _CORE_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", _CORE_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", _CORE_METADATA_BYTES * 2),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
    # A proxy that the environment names for web pages does not lead to our processes.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


ROUTING: Final = frozenset(
    {
        *(metadata.SESSION_ID, metadata.AGENT, metadata.TASK_KEY, metadata.TENANT_ID, metadata.STREAM_ID),
        *(metadata.CALLER_TENANT, metadata.CALLER_SUBJECT, metadata.CALLER_ROLES, metadata.CALLER_CREDENTIAL),
        *(metadata.PEER, metadata.SIGNATURE),
    }
)
"""Not counted: a router adds it, and what it let through must not be too large for the node."""
