"""Fixtures of the tests that speak with a real etcd in the test's own process."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from harness.tasks import own_tasks


@pytest_asyncio.fixture
async def etcd(etcd_url: str) -> AsyncIterator[EtcdClient]:
    """A client of the shared etcd."""
    async with EtcdClient([etcd_url]) as client:
        yield client


@pytest.fixture
def keys() -> Keys:
    """The keys of a cluster that is the test's alone."""
    return Keys(f"test-{uuid.uuid4().hex[:12]}")


@pytest_asyncio.fixture
async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """Owns what the test's claims send."""
    async with own_tasks() as group:
        yield group
