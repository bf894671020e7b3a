"""Registered nodes that claim keys."""

import asyncio

from agentring.cluster.claim import Claims
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.registration import Registration
from agentring.errors import NotOwner
from agentring.ids import parse_session
from harness.registrations import joined

REF = parse_session("tenant", "s")


class Node:
    """A registered node that claims."""

    def __init__(self, etcd: EtcdClient, keys: Keys, registration: Registration, tasks: asyncio.TaskGroup) -> None:
        self.registration = registration
        self.claims = Claims(etcd, keys, registration, tasks, timeout_s=0.5)

    @property
    def lease(self) -> int:
        return self.registration.lease.lease_id


async def node(etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup, name: str = "n1") -> Node:
    return Node(etcd, keys, await joined(etcd, keys, name), tasks)


def not_owner(error: BaseException) -> tuple[str, str, int]:
    assert isinstance(error, NotOwner)
    return error.node, error.address, error.epoch
