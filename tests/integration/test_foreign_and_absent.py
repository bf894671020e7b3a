"""What another tenant has answers exactly as what nobody has: every method that names a session, task, step or file, at
a router and at each node, asked by a tenant before another one makes it, and after. Both show keys of their own.

The same name is asked for both times, so the answers must be the same to the byte, with all their metadata.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc import StatusCode, aio

from agentring.v1 import blob_pb2, cluster_pb2, once_pb2, session_pb2, task_pb2
from harness.api_keys import Keys, bearer
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.paying import FLAGS
from harness.raw import CLUSTER, SESSIONS, STEPS, TASKS, converse, exchange

NAME = "guessed"
TURN = "guessed-turn"
FILE = b"what they keep"
BLOBS = "/agentring.v1.BlobService/"
ROLES = ("user", "admin")
"""Of both: all that a tenant may."""
SERVICES = (
    session_pb2.DESCRIPTOR.services_by_name["SessionService"],
    task_pb2.DESCRIPTOR.services_by_name["TaskService"],
    once_pb2.DESCRIPTOR.services_by_name["OnceService"],
    blob_pb2.DESCRIPTOR.services_by_name["BlobService"],
)

Answer = tuple[Any, ...]
Fields = tuple[tuple[str, str], ...]


def questions() -> Iterator[tuple[str, Message]]:
    """A call of each method, by the names and ids that the owners have. Those that make what is not there name no
    agent, so they make nothing."""
    digest = hashlib.sha256(FILE).digest()
    sent = session_pb2.Turn(turn_id=TURN, input=session_pb2.Input(text="hi"))
    yield SESSIONS + "Converse", session_pb2.ConverseRequest(open=session_pb2.Open(session_id=NAME))
    yield SESSIONS + "RunTurn", session_pb2.RunTurnRequest(session_id=NAME, turn=sent)
    yield SESSIONS + "SubmitTurn", session_pb2.SubmitTurnRequest(session_id=NAME, turn=sent)
    yield SESSIONS + "CancelTurn", session_pb2.CancelTurnRequest(session_id=NAME, turn_id=TURN)
    yield SESSIONS + "WatchSession", session_pb2.WatchSessionRequest(session_id=NAME)
    yield SESSIONS + "GetSession", session_pb2.GetSessionRequest(session_id=NAME)
    yield SESSIONS + "ListSessions", session_pb2.ListSessionsRequest(session_id_prefix=NAME)
    yield SESSIONS + "CloseSession", session_pb2.CloseSessionRequest(session_id=NAME)
    yield TASKS + "RunTask", task_pb2.RunTaskRequest(task_key=NAME)
    yield TASKS + "GetTask", task_pb2.GetTaskRequest(task_key=NAME)
    yield TASKS + "WatchTask", task_pb2.WatchTaskRequest(task_key=NAME)
    yield TASKS + "ListTasks", task_pb2.ListTasksRequest(task_key_prefix=NAME)
    yield TASKS + "CancelTask", task_pb2.CancelTaskRequest(task_key=NAME)
    yield STEPS + "GetRun", once_pb2.GetRunRequest(once_key=NAME)
    yield STEPS + "ListRuns", once_pb2.ListRunsRequest(once_key_prefix=NAME)
    yield STEPS + "ResolveRun", once_pb2.ResolveRunRequest(once_key=NAME, run_again=Empty())
    yield BLOBS + "PutBlob", blob_pb2.PutBlobRequest(session_id=NAME, sha256=digest, size_bytes=len(FILE), data=FILE)
    yield BLOBS + "GetBlob", blob_pb2.GetBlobRequest(session_id=NAME, sha256=digest)
    yield CLUSTER + "LocateSession", cluster_pb2.LocateSessionRequest(session_id=NAME)


async def ask(channel: aio.Channel, method: str, message: Message, stranger: Fields) -> Answer:
    """All that a stranger sees of the answer."""
    if method.endswith(("/Converse", "/PutBlob")):
        call: Any = converse(channel, [message], method=method, metadata=stranger)
    else:
        call = exchange(channel, method, message, metadata=stranger)
    received = []
    try:
        while (response := await call.read()) is not aio.EOF:
            received.append(response)
    except aio.AioRpcError as error:
        details: Any = (error.code(), error.details())
    else:
        details = "OK"
    initial = tuple(await call.initial_metadata())
    if "/List" in method:  # whichever node has its turn answers
        initial = tuple(field for field in initial if field[0] != "x-agentring-node")
    return method, details, received, initial, tuple(await call.trailing_metadata())


async def ask_all(cluster: Cluster, stranger: Fields) -> list[Answer]:
    addresses = (cluster.router, *(node.address for node in cluster.nodes.values()))
    answers = []
    for address in addresses:
        async with connect(address) as channel:
            for method, message in questions():
                if address == cluster.router or not method.startswith(CLUSTER):
                    answers.append(await ask(channel, method, message, stranger))
    return answers


async def make_everything(cluster: Cluster, directory: Path, owner: Fields) -> None:
    """The owners' session with a turn and a file, task and step, all of the names that are asked for."""
    (directory / f"go-{NAME}").touch()
    put = blob_pb2.PutBlobRequest(
        session_id=NAME, agent="paying", sha256=hashlib.sha256(FILE).digest(), size_bytes=len(FILE), data=FILE
    )
    async with connect(cluster.router) as channel:
        assert await converse(channel, [put], method=BLOBS + "PutBlob", metadata=owner).read() is not aio.EOF
        sent = turn(turn_id=TURN, key=NAME, directory=str(directory))
        paid = await run_turn(channel, NAME, sent, agent="paying", metadata=owner)
        assert paid.result["value"]
        task = task_pb2.RunTaskRequest(task_key=NAME, agent="echo", input=session_pb2.Input(text="hi"))
        ran = exchange(channel, TASKS + "RunTask", task, metadata=owner)
        while await ran.read() is not aio.EOF:
            pass
        for method, message in questions():
            if method.rpartition("/")[2] in ("GetSession", "GetTask", "GetRun", "GetBlob"):
                answered = await exchange(channel, method, message, metadata=owner).read()
                assert answered, f"the owners do not have it themselves: {method}"


def test_every_method_is_asked() -> None:
    asked = {method for method, _ in questions()}
    known = {f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}
    assert known <= asked


async def test_another_tenants_things_answer_as_those_that_are_not_there(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    keys = Keys(tmp_path)
    owner, stranger = (bearer(keys.add(who, f"tenant-{who}", *ROLES)) for who in ("owner", "stranger"))
    cluster = make_cluster(nodes=2, flags=(*FLAGS, *keys.flags), router_flags=keys.flags, metadata=bearer(keys.olga))
    async with asyncio.timeout(60):
        absent = await ask_all(cluster, stranger)
        await make_everything(cluster, tmp_path, owner)
        foreign = await ask_all(cluster, stranger)
    assert len(absent) == 3 * 18 + 1
    assert [pair for pair in zip(absent, foreign, strict=True) if pair[0] != pair[1]] == []
    refused = [details for method, details, *_ in foreign if details != "OK"]
    assert len(refused) == 3 * 15 + 1, "a list that is empty is an answer"
    forbidden = [method for method, details, *_ in foreign if details[0] is StatusCode.PERMISSION_DENIED]
    assert forbidden == [CLUSTER + "LocateSession"], "only operators see where sessions are"
