"""All nodes are asked at once; what keeps a router from asking them keeps it from nothing else."""

import errno

from agentring.rpc.channel import PeerCredentials
from harness.memberships import node
from router.services.node_calls import NodeCall, ask_all


async def test_certificates_that_cannot_be_read_are_said_and_what_goes_on_beside_goes_on() -> None:
    def credentials() -> PeerCredentials | None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "certs/ca.pem")

    async def ask(_call: NodeCall) -> None:
        raise AssertionError

    async def settled() -> None:
        written.append(True)

    written: list[bool] = []
    there = node("n1")
    answers = await ask_all(lambda: {there.node_id: there}, credentials, None, ask, 0.2, settled)
    assert written
    assert answers.silent == {there.node_id: "certs/ca.pem: No such file or directory"}
