"""`import agentring.client` loads what a client needs, and nothing of a server's: neither our modules nor others'."""

import json
import sys

import pytest

from harness.tools import run

OURS = {
    *("address", "certificates", "client", "durations", "errors", "held", "ids", "metadata", "plain_copy"),
    *("plain_json", "rpc", "usage", "v1"),
}
RPC = {"agentring.rpc.channel", "agentring.rpc.limits", "agentring.rpc.status"}
CERTIFICATES = {"agentring.certificates", "agentring.certificates.names"}
V1 = {
    "agentring.v1.blob_pb2",
    "agentring.v1.blob_pb2_grpc",
    "agentring.v1.session_pb2",
    "agentring.v1.session_pb2_grpc",
    "agentring.v1.task_pb2",
    "agentring.v1.task_pb2_grpc",
}
GOOGLE = {"google.protobuf", "google.rpc"}

# grpc comes first: it looks for others of grpcio's packages by itself.
LOADED = """
import json, sys
import grpc.aio
before = set(sys.modules)
import {module}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("module", ["agentring.client", "agentring.client.sync"])
def test_the_client_imports_nothing_of_a_server(module: str) -> None:
    loaded = set(json.loads(run([sys.executable, "-c", LOADED.format(module=module)])))
    assert module in loaded
    ours = {name for name in loaded if name.startswith("agentring.")}
    assert {name.split(".")[1] for name in ours} == OURS
    assert {name for name in ours if name.startswith("agentring.rpc.")} == RPC
    assert {name for name in ours if name.startswith("agentring.certificates")} == CERTIFICATES
    assert {name for name in ours if name.startswith("agentring.v1.")} == V1
    others = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"agentring"}
    assert others <= {"google", "grpc"}
    assert {".".join(name.split(".")[:2]) for name in loaded if name.startswith("google.")} <= GOOGLE | {"google._upb"}
