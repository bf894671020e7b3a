"""A router's settings (see agentring/settings.py for where they come from)."""

from pydantic import Field

from agentring.settings import HostPort, ProcessSettings


class RouterSettings(ProcessSettings):
    """One router."""

    listen: HostPort = Field("127.0.0.1:7700", description="host:port to serve on; port 0: a free one")
    owner_cache_size: int = Field(100_000, ge=1, description="owners learnt from redirects that are kept")
    sync_timeout_s: float = Field(30.0, gt=0, description="how long a starting router waits for etcd")
    stop_grace_s: float = Field(5.0, ge=0, description="how long calls may go on when the router stops")
