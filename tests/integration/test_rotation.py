"""Certificates and their authority are replaced while calls come and go, and none of them fails."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import grpc
from grpc import aio

from agentring.certificates.names import Holder
from harness.certificates import Certificates
from harness.client import run_turn, turn
from harness.cluster import Cluster, Member, until_sees

PATIENCE_S = 30.0
LEAF_S = 29.0
"""So short that every connection is to be replaced at once, over and over: each is asked to end 30 s before."""
CALLERS = 3
CALLS_A_CHANNEL = 4


class Load:
    """Callers with a new channel every few calls, by the credentials of the moment."""

    def __init__(self, cluster: Cluster, credentials: grpc.ChannelCredentials) -> None:
        self._cluster = cluster
        self.credentials = credentials
        self.calls = 0
        self.failed: list[str] = []

    async def run(self, caller: int) -> None:
        for number in count():
            async with aio.secure_channel(self._cluster.router, self.credentials) as channel:
                for call in range(CALLS_A_CHANNEL):
                    try:
                        await run_turn(channel, f"s{caller}-{number % 8}", turn(f"{number}/{call}"))
                        self.calls += 1
                    except aio.AioRpcError as error:
                        self.failed.append(f"{error.code().name} {error.details()}")

    async def until_more(self) -> None:
        """Every caller has had channels that were opened after now."""
        least = self.calls + 2 * CALLERS * CALLS_A_CHANNEL
        await until(lambda: self.calls >= least)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  it is in other processes
            await asyncio.sleep(0.02)


async def until_logged(members: Iterable[Member], event: str, times: int) -> None:
    """times: more often than now, each of them."""
    logs = [member.process.log for member in members]
    before = [log.read_text().count(f'"{event}"') for log in logs]
    await until(
        lambda: all(log.read_text().count(f'"{event}"') >= n + times for log, n in zip(logs, before, strict=True))
    )


def serves(member: Member, certificate: bytes) -> bool:
    host, _, port = member.address.rpartition(":")
    return ssl.get_server_certificate((host, int(port))).split() == certificate.decode().split()


async def is_served(router: str, credentials: grpc.ChannelCredentials) -> bool:
    async with aio.secure_channel(router, credentials) as channel:
        with suppress(aio.AioRpcError):
            await run_turn(channel, "probe", turn("hi"))
            return True
    return False


async def test_no_call_fails_while_certificates_and_their_authority_are_replaced(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=0, routers=0)
    old, new = Certificates(tmp_path / "old", cluster.name), Certificates(tmp_path / "new", cluster.name)
    leaf = timedelta(seconds=LEAF_S)
    holders = {"n1": Holder.node, "n2": Holder.node, "r1": Holder.router}
    for name in ("n1", "n2"):
        cluster.start_node(name, *old.everywhere(name, Holder.node, leaf))
    cluster.start_router("r1", *old.everywhere("r1", Holder.router, leaf))
    until_sees(cluster.router, 2, old.credentials("tests"))
    members = [*cluster.nodes.values(), *cluster.routers.values()]
    load = Load(cluster, old.credentials("client"))
    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(load.run(number)) for number in range(CALLERS)]
        await load.until_more()

        # Both authorities are believed; the file is there by half at first.
        both = old.ca.read_bytes() + new.ca.read_bytes()
        half = asyncio.create_task(until_logged(members, "certificates_not_reloaded", 1))
        old.ca.write_bytes(both[: len(both) * 3 // 4])
        await half
        whole = asyncio.create_task(until_logged(members, "certificates_reloaded", 1))
        old.ca.write_bytes(both)
        await whole
        async with asyncio.timeout(PATIENCE_S):
            while not await is_served(cluster.router, new.trusting(both, "tests")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        load.credentials = new.trusting(both, "client")

        # The new authority's certificates; their keys come first, and are not those of what is there.
        issued = {member: new.issue(member.name, holders[member.name]) for member in members}
        refused = asyncio.create_task(until_logged(members, "certificates_not_reloaded", 1))
        for member, (_, key) in issued.items():
            (tmp_path / "old" / f"{member.name}.key").write_bytes(key.read_bytes())
        await refused
        for member, (cert, _) in issued.items():
            (tmp_path / "old" / f"{member.name}.pem").write_bytes(cert.read_bytes())
        await until(lambda: all(serves(member, cert.read_bytes()) for member, (cert, _) in issued.items()))
        await load.until_more()

        # The old authority is believed no more, nor is a certificate that has ended.
        load.credentials = new.credentials("client")
        await load.until_more()
        old.ca.write_bytes(new.ca.read_bytes())
        async with asyncio.timeout(PATIENCE_S):
            while await is_served(cluster.router, old.trusting(both, "stranger")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert not await is_served(cluster.router, new.credentials("late", timedelta(seconds=-1)))
        await load.until_more()
        for caller in callers:
            caller.cancel()
    assert load.failed == []
    assert load.calls > 10 * CALLERS * CALLS_A_CHANNEL
