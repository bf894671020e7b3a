"""A network namespace for one node, with two wires to it: one on which it reaches etcd, one on which others reach it.

A cut wire drops every packet, in one direction or both, as a broken switch does: the kernel sees to retransmission,
time-outs and what else TCP makes of it. Needs root and `ip` and `tc`; `can_be_made` says whether that works here.
Resource handling: `open`, `close`; nothing is left behind, in this or another namespace.
"""

import ipaddress
import subprocess
import uuid
from contextlib import suppress

_NETWORK = ipaddress.ip_network("10.213.0.0/16")
"""Of which every wire takes four addresses. Nothing goes beyond this machine."""
_DROP_ALL = "blackhole"
"""The name of a queueing discipline that every kernel has."""


class Wire:
    """A pair of interfaces, one on either side."""

    def __init__(self, namespace: str, letter: str) -> None:
        """letter: tells the namespace's wires apart."""
        self._namespace = namespace
        self._ours, self._theirs = f"{namespace}{letter}", f"{namespace}{letter}n"
        self._cut: set[str] = set()
        self.our_address = self.their_address = ""

    def open(self) -> None:
        """Makes it."""
        _run("ip", "link", "add", self._ours, "type", "veth", "peer", "name", self._theirs, "netns", self._namespace)
        ours, theirs = _free_addresses()
        self.our_address, self.their_address = str(ours), str(theirs)
        _run("ip", "address", "add", f"{ours}/30", "dev", self._ours)
        _run("ip", "link", "set", self._ours, "up")
        self._inside("ip", "address", "add", f"{theirs}/30", "dev", self._theirs)
        self._inside("ip", "link", "set", self._theirs, "up")

    def cut(self, *, forth: bool, back: bool) -> None:
        """Drops what the node sends (forth), or what it would receive."""
        for drops, interface in ((forth, self._theirs), (back, self._ours)):
            if drops and interface not in self._cut:
                self._on(interface, "add")
                self._cut.add(interface)

    def mend(self) -> None:
        """Drops nothing any more."""
        for interface in tuple(self._cut):
            self._on(interface, "delete")
            self._cut.discard(interface)

    def _on(self, interface: str, what: str) -> None:
        run = self._inside if interface == self._theirs else _run
        run("tc", "qdisc", what, "dev", interface, "root", _DROP_ALL)

    def _inside(self, *command: str) -> None:
        _run("ip", "netns", "exec", self._namespace, *command)


class Namespace:
    """One node's."""

    def __init__(self) -> None:
        """Makes nothing yet."""
        self._name = f"ar{uuid.uuid4().hex[:8]}"
        self.to_etcd = Wire(self._name, "e")
        self.to_routers = Wire(self._name, "r")

    @property
    def enter(self) -> tuple[str, ...]:
        """What a command begins with that is to run inside; it stays one process."""
        return ("ip", "netns", "exec", self._name)

    def open(self) -> None:
        """Makes it and its wires. Raises CalledProcessError, FileNotFoundError."""
        _run("ip", "netns", "add", self._name)
        try:
            self.to_etcd.open()
            self.to_routers.open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes it; its wires go with it."""
        with suppress(subprocess.CalledProcessError):
            _run("ip", "netns", "delete", self._name)


def can_be_made() -> bool:
    """Whether this process may make namespaces, and cut wires."""
    namespace = Namespace()
    try:
        namespace.open()
        try:
            namespace.to_etcd.cut(forth=True, back=True)
        finally:
            namespace.close()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _free_addresses() -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    taken = subprocess.run(["ip", "-4", "-o", "address"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    for network in _NETWORK.subnets(new_prefix=30):
        ours, theirs = network.hosts()
        if f" {ours}/" not in taken:
            assert isinstance(ours, ipaddress.IPv4Address)
            assert isinstance(theirs, ipaddress.IPv4Address)
            return ours, theirs
    raise OSError("no free addresses")


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)
