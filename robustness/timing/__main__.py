"""Measures whether the time of an answer tells a tenant what another one has. Starts a cluster of its own.

    scripts/timing                    # each method until it is sure, a minute or so
    scripts/timing --json --calls 500

What it does: starts etcd, a node and a router; one tenant makes sessions and tasks; another one asks for one of these
(foreign) and for a name that nobody has (absent), in a random order, one call after the other, pair by pair. For each
method it goes on until the 95 % interval of the median difference is 20 µs narrow on each side, or --calls are over.

Passed: the whole interval is within 50 µs. The control asks for foreign ones 200 µs later than it begins to measure,
and must be found: its whole interval is beyond 50 µs. One that is neither is undecided: the machine was too busy.

Exit status: 0 if all passed and the control was found; 1 if not; 2 for arguments that cannot be meant.
"""

import json
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import grpc
import typer

from agentring.v1 import cluster_pb2, session_pb2, task_pb2
from harness.cluster import Cluster
from harness.etcd import EtcdProcess
from robustness.timing.medians import Difference, median_difference

BOUND_US, CONTROL_US, NARROW_US = 50.0, 200.0, 20.0
_NAMES = 200
_BATCH = 250
_DEADLINE_S = 10.0
_OWNERS, _STRANGERS = (("x-tenant-id", "owners"),), (("x-tenant-id", "strangers"),)

METHODS: dict[str, Callable[[str], bytes]] = {
    "SessionService/GetSession": lambda name: session_pb2.GetSessionRequest(session_id=name).SerializeToString(),
    "SessionService/WatchSession": lambda name: session_pb2.WatchSessionRequest(session_id=name).SerializeToString(),
    "SessionService/CloseSession": lambda name: session_pb2.CloseSessionRequest(session_id=name).SerializeToString(),
    "TaskService/GetTask": lambda name: task_pb2.GetTaskRequest(task_key=name).SerializeToString(),
    "TaskService/CancelTask": lambda name: task_pb2.CancelTaskRequest(task_key=name).SerializeToString(),
    "ClusterService/LocateSession": lambda name: cluster_pb2.LocateSessionRequest(session_id=name).SerializeToString(),
}
Send = Callable[[str, bytes, tuple[tuple[str, str], ...]], None]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def timing(
    calls: Annotated[int, typer.Option(min=_BATCH, help="At most so many pairs for a method.")] = 6_000,
    to_json: Annotated[bool, typer.Option("--json", help="JSON instead of the table.")] = False,
) -> None:
    """Runs it."""
    with tempfile.TemporaryDirectory(prefix="agentring-timing-") as directory:
        etcd = EtcdProcess(Path(directory))
        cluster = Cluster(etcd.url, Path(directory))
        try:
            cluster.start(nodes=1)
            with grpc.insecure_channel(cluster.router) as channel:
                found = _measure_all(_sender(channel), calls)
        finally:
            cluster.stop()
            etcd.stop(signal.SIGKILL)
    verdicts = {name: _verdict(name, measured) for name, (measured, _) in found.items()}
    rows = {
        name: {"us": measured.value, "half_width_us": measured.half_width, "pairs": count, "verdict": verdicts[name]}
        for name, (measured, count) in found.items()
    }
    if to_json:
        print(json.dumps(rows, indent=1))
    else:
        for name, (measured, count) in found.items():
            print(f"{name:32} {measured.value:+8.1f} ± {measured.half_width:.1f} µs  {count:6} pairs  {verdicts[name]}")
    if any(verdict != "pass" for verdict in verdicts.values()):
        raise typer.Exit(1)


def _sender(channel: grpc.Channel) -> Send:
    def send(method: str, message: bytes, metadata: tuple[tuple[str, str], ...]) -> None:
        call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/agentring.v1.{method}")
        try:
            for _ in call(message, timeout=_DEADLINE_S, metadata=metadata):
                pass
        except grpc.RpcError as error:
            # What is measured is that there is nothing; anything else would be compared in vain.
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise

    return send


def _measure_all(send: Send, calls: int) -> dict[str, tuple[Difference, int]]:
    names = [f"owned-{number:06}" for number in range(_NAMES)]
    text = session_pb2.Input(text="hi")
    for name in names:
        turn = session_pb2.RunTurnRequest(session_id=name, agent="echo", turn=session_pb2.Turn(input=text))
        send("SessionService/RunTurn", turn.SerializeToString(), _OWNERS)
        task = task_pb2.RunTaskRequest(task_key=name, agent="echo", input=text)
        send("TaskService/RunTask", task.SerializeToString(), _OWNERS)
    found = {method: _measure(send, method, names, calls, 0.0) for method in METHODS}
    control = next(iter(METHODS))
    return found | {f"control {control.rpartition('/')[2]}": _measure(send, control, names, calls, CONTROL_US)}


def _measure(send: Send, method: str, names: list[str], calls: int, later_us: float) -> tuple[Difference, int]:
    """later_us: how much later than it is measured a foreign one is asked for."""
    chosen = random.Random(17)
    pairs: list[float] = []
    while True:
        for _ in range(_BATCH):
            took_us = {}
            for is_foreign in chosen.choice(((False, True), (True, False))):
                name = chosen.choice(names) if is_foreign else f"none--{chosen.randrange(1_000_000):06}"
                message = METHODS[method](name)
                began = time.perf_counter_ns()
                while is_foreign and time.perf_counter_ns() - began < later_us * 1e3:
                    pass
                send(method, message, _STRANGERS)
                took_us[is_foreign] = (time.perf_counter_ns() - began) / 1e3
            pairs.append(took_us[True] - took_us[False])
        measured = median_difference(pairs)
        if measured.half_width <= NARROW_US or len(pairs) + _BATCH > calls:
            return measured, len(pairs)


def _verdict(name: str, measured: Difference) -> str:
    is_control = name.startswith("control")
    if measured.is_within(BOUND_US):
        return "NOT FOUND" if is_control else "pass"
    if measured.is_beyond(BOUND_US):
        return "pass" if is_control else "FAIL"
    return "undecided"


if __name__ == "__main__":
    app()
