"""The etcd under test: one member or three, each a process that can be killed, paused and started again on its data.

Guarantees that what `start` started has ended after `stop`. Also what an operator may do to an etcd: compact, revoke,
fill it up and make room again.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import grpc
from aetcd import rpc
from grpc import aio

from agentring.cli.local.embedded_etcd import Version, find_program, parse_version
from harness.processes import READY_S, Process
from robustness.chaos.cluster.ports import own_port
from robustness.chaos.cluster.users import EtcdUsers

SAFE: Version = (3, 5, 21)
"""Earlier ones may corrupt their data on kill -9 (3.5.0 to 3.5.2) or lose watch events."""
QUOTA_BYTES = 16 << 20
_TOOLS = Path(__file__).resolve().parents[3] / ".tools" / "bin" / "etcd"
_FILLER = "/chaos-filler/"
_FILLER_BYTES = 1 << 20
_CALL_S = 10.0


def find_etcd() -> Path:
    """The one of scripts/get_etcd, else the one on PATH, else the wheel's. Raises EtcdUnusable."""
    return _TOOLS if _TOOLS.is_file() else find_program()


class Member:
    """One member."""

    def __init__(self, name: str, directory: Path, scheme: str) -> None:
        """Takes free ports; starts nothing. scheme: of what clients call."""
        self.name = name
        self.directory = directory / name
        self.log = directory / f"{name}.log"
        self.url, self.peer_url = (f"{each}://127.0.0.1:{own_port()}" for each in (scheme, "http"))
        self.process: Process | None = None


class Etcd:
    """All members."""

    def __init__(
        self,
        program: Path,
        directory: Path,
        members: int,
        *,
        quota_bytes: int | None = None,
        users: EtcdUsers | None = None,
    ) -> None:
        """program: the binary; directory: of data and logs; users: who may call it, over TLS; None: everybody."""
        self.program = program
        printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = parse_version(printed) or (0, 0, 0)
        self._quota_bytes = quota_bytes
        self._users = users
        scheme = "https" if users is not None else "http"
        self.members = [Member(f"etcd{number + 1}", directory, scheme) for number in range(members)]

    @property
    def urls(self) -> list[str]:
        """Of the members, in their order."""
        return [member.url for member in self.members]

    @property
    def is_safe(self) -> bool:
        """Whether this version may be killed."""
        return self.version >= SAFE or self.version < (3, 5, 0)

    def start(self) -> None:
        """Starts every member that does not run, and returns when there is a leader."""
        for member in self.members:
            if member.process is None or member.process.returncode is not None:
                self.spawn(member)
        for member in self.members:
            self._until_healthy(member)

    def spawn(self, member: Member) -> None:
        """Starts one member, on the data that it left."""
        if member.process is not None:
            member.process.stop(signal.SIGKILL)
        cluster = ",".join(f"{other.name}={other.peer_url}" for other in self.members)
        command = [
            str(self.program),
            f"--name={member.name}",
            f"--data-dir={member.directory}",
            f"--listen-client-urls={member.url}",
            f"--advertise-client-urls={member.url}",
            f"--listen-peer-urls={member.peer_url}",
            f"--initial-advertise-peer-urls={member.peer_url}",
            f"--initial-cluster={cluster}",
        ]
        if self._quota_bytes is not None:
            command.append(f"--quota-backend-bytes={self._quota_bytes}")
        if self._users is not None:
            command += self._users.serving()
        member.process = Process(command, member.log)

    def stop(self) -> None:
        """Ends every member."""
        for member in self.members:
            if member.process is not None:
                member.process.stop(signal.SIGKILL)
            shutil.rmtree(member.directory, ignore_errors=True)

    async def leader(self) -> Member:
        """Which member leads."""
        for member in self.members:
            async with self._channel(member.url) as channel:
                status = await rpc.MaintenanceStub(channel).Status(rpc.StatusRequest(), timeout=_CALL_S)
            if status.leader == status.header.member_id:
                return member
        raise AssertionError("no member leads")

    async def compact(self) -> None:
        """Forgets all history."""
        async with self._channel(self.urls[0]) as channel:
            stub = rpc.KVStub(channel)
            now = await stub.Range(rpc.RangeRequest(key=b"/"), timeout=_CALL_S)
            await stub.Compact(rpc.CompactionRequest(revision=now.header.revision, physical=True), timeout=_CALL_S)

    async def lease_of(self, key: str) -> int:
        """The lease that a key hangs on; 0: there is no such key."""
        async with self._channel(self.urls[0]) as channel:
            found = await rpc.KVStub(channel).Range(rpc.RangeRequest(key=key.encode()), timeout=_CALL_S)
        return int(found.kvs[0].lease) if found.kvs else 0

    async def value_of(self, key: str) -> bytes:
        """What stands under a key that is there."""
        async with self._channel(self.urls[0]) as channel:
            found = await rpc.KVStub(channel).Range(rpc.RangeRequest(key=key.encode()), timeout=_CALL_S)
        return bytes(found.kvs[0].value)

    async def put(self, key: str, value: bytes) -> None:
        """Writes a key without a lease."""
        async with self._channel(self.urls[0]) as channel:
            await rpc.KVStub(channel).Put(rpc.PutRequest(key=key.encode(), value=value), timeout=_CALL_S)

    async def delete(self, key: str) -> None:
        """Removes a key."""
        async with self._channel(self.urls[0]) as channel:
            await rpc.KVStub(channel).DeleteRange(rpc.DeleteRangeRequest(key=key.encode()), timeout=_CALL_S)

    async def revoke(self, lease_id: int) -> None:
        """Ends a lease."""
        async with self._channel(self.urls[0]) as channel:
            await rpc.LeaseStub(channel).LeaseRevoke(rpc.LeaseRevokeRequest(ID=lease_id), timeout=_CALL_S)

    async def fill(self) -> None:
        """Writes until etcd refuses: NOSPACE."""
        async with self._channel(self.urls[0]) as channel:
            stub = rpc.KVStub(channel)
            for number in range(2 * QUOTA_BYTES // _FILLER_BYTES):
                try:
                    put = rpc.PutRequest(key=f"{_FILLER}{number}".encode(), value=os.urandom(_FILLER_BYTES))
                    await stub.Put(put, timeout=_CALL_S)
                except aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                        return
        raise AssertionError("etcd took more than its quota")

    async def make_room(self) -> None:
        """What an operator does then: deletes, compacts, defragments, and takes the alarm back."""
        async with self._channel(self.urls[0]) as channel:
            delete = rpc.DeleteRangeRequest(key=_FILLER.encode(), range_end=_FILLER[:-1].encode() + b"0")
            await rpc.KVStub(channel).DeleteRange(delete, timeout=_CALL_S)
            await self.compact()
            stub = rpc.MaintenanceStub(channel)
            await stub.Defragment(rpc.DefragmentRequest(), timeout=_CALL_S)
            raised = await stub.Alarm(rpc.AlarmRequest(action=rpc.AlarmRequest.GET), timeout=_CALL_S)
            for alarm in raised.alarms:
                off = rpc.AlarmRequest(action=rpc.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm)
                await stub.Alarm(off, timeout=_CALL_S)

    def _channel(self, url: str) -> aio.Channel:
        address = url.rpartition("://")[2]
        if self._users is not None:
            return self._users.channel(address)
        return aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))

    def _until_healthy(self, member: Member) -> None:
        deadline_s = time.monotonic() + READY_S
        context = self._users.context if self._users is not None else None
        health = f"{member.url}/health"
        while time.monotonic() < deadline_s:
            with (
                suppress(OSError),
                urllib.request.urlopen(health, timeout=READY_S, context=context) as answer,  # noqa: S310  our own
            ):
                if json.load(answer)["health"] == "true":
                    return
            time.sleep(0.02)
        raise AssertionError(f"{member.name} does not serve:\n{member.log.read_text()[-2000:]}")
