"""What etcd's check of who calls costs claims: the same claims at two etcds in turn, one of which checks.

etcd checks a transaction that binds a key to a lease against every key that is bound to it already
(etcdserver/apply_auth.go), so how many sessions the node holds matters."""

import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from agentring.cli.etcd_passwords import PasswordFiles
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import start_etcd
from agentring.cluster.access import node_user
from agentring.cluster.etcd.access_control import check_release
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.login import EtcdLogin
from agentring.cluster.etcd.users import ROOT
from agentring.cluster.group_commit import MAX_GROUP
from agentring.cluster.prepare_etcd import steps_to_prepare
from agentring.ids import NodeId, parse_session
from benchmarks.claims.claiming import KEYS, claim_all, registered
from benchmarks.router.stand import spawn

HELD = (0, 1_000, 10_000)
_SIDES = ("nobody", "user")
_FEWER = 10
"""Claims as a user are a tenth of the others: where many are held they take long."""
_NODE = NodeId("node")
_GROUPS = {"grouped": MAX_GROUP, "single": 1}
_CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the etcds."""

    pid: int
    etcd: EtcdClient
    """The node's client."""
    filler: EtcdClient
    """root's, whose claims are not checked, where there is one."""


async def compare(runs: int, claims: int, concurrency: int) -> dict[str, float]:
    """Claims a second and µs of CPU a claim, by kind and how many sessions the node holds already, with users and
    without, and the ratios. Raises EtcdTooOld."""
    spent = {f"{kind}_at_{held}_{side}": [0.0, 0.0, 0.0] for held in HELD for kind in _GROUPS for side in _SIDES}
    with tempfile.TemporaryDirectory(prefix="agentring-claiming-") as directory:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            sides = {side: await _side(stack, Path(directory) / side, guarded=side == "user") for side in _SIDES}
            for run in range(runs):
                for held in HELD:
                    for name, side in list(sides.items())[:: 1 if run % 2 else -1]:
                        node = await registered(side.etcd, _NODE)
                        refs = [parse_session("", f"h-{index}") for index in range(held)]
                        await claim_all(side.filler, tasks, node, refs, concurrency, MAX_GROUP)
                        for kind, group in _GROUPS.items():
                            many = claims if name == "nobody" else max(1, claims // _FEWER)
                            refs = [parse_session("", f"s-{run}-{kind}-{index}") for index in range(many)]
                            before_s = _cpu_s(side.pid)
                            # etcd gives up what has waited for 7 s, and one by one each waits for all before it.
                            at_once = concurrency if group > 1 else max(1, concurrency // _FEWER)
                            took_s = await claim_all(side.etcd, tasks, node, refs, at_once, group)
                            found = spent[f"{kind}_at_{held}_{name}"]
                            for each, more in enumerate((took_s, _cpu_s(side.pid) - before_s, many)):
                                found[each] += more
                        await side.filler.revoke(node.lease.lease_id)
    rates: dict[str, float] = {"load": os.getloadavg()[0]}
    for name, (took_s, cpu_s, done) in spent.items():
        rates[f"{name}_claims_per_s"], rates[f"{name}_cpu_us"] = done / took_s, cpu_s / done * 1e6
    for kind, held in ((kind, held) for kind in _GROUPS for held in HELD):
        for what in ("claims_per_s", "cpu_us"):
            user, nobody = (rates[f"{kind}_at_{held}_{side}_{what}"] for side in ("user", "nobody"))
            rates[f"{kind}_at_{held}_{what}_ratio"] = user / nobody
    return rates


def sentence(found: dict[str, float]) -> str:
    """For people."""
    lines = []
    for kind, held in ((kind, held) for kind in _GROUPS for held in HELD):
        user, nobody = (f"{kind}_at_{held}_{side}" for side in ("user", "nobody"))
        lines.append(
            f"{kind}, {held:,} sessions held: {found[f'{user}_claims_per_s']:,.0f} claims/s as a user, "
            f"{found[f'{nobody}_claims_per_s']:,.0f} where etcd checks nobody "
            f"(ratio {found[f'{kind}_at_{held}_claims_per_s_ratio']:.3f}); CPU {found[f'{user}_cpu_us']:,.0f} and "
            f"{found[f'{nobody}_cpu_us']:,.0f} µs a claim (ratio {found[f'{kind}_at_{held}_cpu_us_ratio']:.1f})"
        )
    return "\n".join([*lines, f"load average {found['load']:.1f}"])


async def _side(stack: AsyncExitStack, directory: Path, *, guarded: bool) -> _Side:
    data_dir = DataDir(directory)
    stack.enter_context(data_dir.locked())
    started = await start_etcd(data_dir, lambda spec: spawn(stack, spec))
    if not guarded:
        etcd = await stack.enter_async_context(EtcdClient([started.url], timeout_s=_CALL_S))
        return _Side(started.child.pid, etcd, etcd)
    root, passwords = directory / ROOT, directory / "passwords"
    root.write_text("the root's of a bench\n")
    files = PasswordFiles(passwords, root, dry_run=False)
    operator = await stack.enter_async_context(
        EtcdClient([started.url], login=EtcdLogin(ROOT, root), timeout_s=_CALL_S)
    )
    for step in await steps_to_prepare(operator, KEYS, [_NODE], files, enable=True):
        await step.work()
    user = node_user(KEYS, _NODE)
    login = EtcdLogin(user, files.path_of(passwords, user))
    etcd = await stack.enter_async_context(EtcdClient([started.url], login=login, timeout_s=_CALL_S))
    assert await check_release(etcd)
    return _Side(started.child.pid, etcd, operator)


def _cpu_s(pid: int) -> float:
    """This process's and another's so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
