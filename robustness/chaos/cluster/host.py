"""A node or a router under test: its process, and every way to and from it."""

import signal
from dataclasses import dataclass, field

from harness.processes import Process
from robustness.chaos.cluster.links import Link
from robustness.chaos.cluster.namespaces import Namespace

LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class Host:
    """A node or a router and its links."""

    name: str
    port: int
    etcd_links: list[Link]
    """One to each member."""
    namespace: Namespace | None
    process: Process | None = None
    link: Link = field(init=False)
    """How others reach it."""

    @property
    def address(self) -> str:
        """Where it listens itself."""
        return f"{self.namespace.to_routers.their_address if self.namespace else LOOPBACK}:{self.port}"

    @property
    def running(self) -> Process:
        """Its process, which may have ended."""
        assert self.process is not None
        return self.process

    async def close(self) -> None:
        """Ends its links, once its process has ended."""
        for link in (*self.etcd_links, self.link):
            await link.stop()
        if self.namespace is not None:
            self.namespace.close()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal; one that has ended does not mind."""
        if self.running.returncode is None:
            self.running.send(number)

    def cut_etcd(self, *, forth: bool = True, back: bool = True) -> None:
        """Cuts it off from every member of etcd."""
        if self.namespace is not None:
            self.namespace.to_etcd.cut(forth=forth, back=back)
            return
        for link in self.etcd_links:
            link.cut(forth=forth, back=back)

    def cut_routers(self) -> None:
        """Cuts it off from whoever calls it."""
        if self.namespace is not None:
            self.namespace.to_routers.cut(forth=True, back=True)
        else:
            self.link.cut()

    def mend(self) -> None:
        """Mends all its links and wires."""
        if self.namespace is not None:
            self.namespace.to_etcd.mend()
            self.namespace.to_routers.mend()
        for link in (*self.etcd_links, self.link):
            link.mend()
