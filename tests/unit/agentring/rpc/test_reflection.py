"""Reflection in both versions: every symbol of what is served, asked for by name."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from agentring.rpc.reflection import SERVICES, Reflection, Symbols
from agentring.rpc.service import Call
from agentring.v1 import session_pb2, task_pb2

OURS = (
    session_pb2.DESCRIPTOR.services_by_name["SessionService"],
    task_pb2.DESCRIPTOR.services_by_name["TaskService"],
)
SYMBOLS = Symbols([each.full_name for each in (*OURS, *SERVICES)])


@pytest.fixture(params=SERVICES, ids=[each.full_name for each in SERVICES])
def version(request: pytest.FixtureRequest) -> Any:
    """A version of the service."""
    return request.param


async def asked(version: Any, **request: Any) -> Any:
    """The answer to one request."""
    request_class: Any = GetMessageClass(version.methods_by_name["ServerReflectionInfo"].input_type)

    class Told:
        """As Call."""

        async def send(self, response: Any) -> None:
            responses.append(response)

    async def requests() -> AsyncIterator[Any]:
        yield request_class(host="h", **request)

    responses: list[Any] = []
    await Reflection(version, SYMBOLS).ServerReflectionInfo(requests(), cast(Call, Told()))
    (answer,) = responses
    assert (answer.valid_host, answer.original_request) == ("h", request_class(host="h", **request))
    return answer


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("agentring.v1.SessionService", "agentring/v1/session.proto"),
        ("agentring.v1.SessionService.RunTurn", "agentring/v1/session.proto"),
        ("agentring.v1.TaskService.GetTask", "agentring/v1/task.proto"),
        ("agentring.v1.Event", "agentring/v1/session.proto"),
        (".agentring.v1.Event", "agentring/v1/session.proto"),
        ("agentring.v1.Event.seq", "agentring/v1/session.proto"),
        ("agentring.v1.Event.body", "agentring/v1/session.proto"),
        ("agentring.v1.ConverseRequest.frame", "agentring/v1/session.proto"),
        ("agentring.v1.OnBusy", "agentring/v1/session.proto"),
        ("agentring.v1.ON_BUSY_REJECT", "agentring/v1/session.proto"),
        ("agentring.v1.OnBusy.ON_BUSY_REJECT", "agentring/v1/session.proto"),
        ("google.protobuf.Struct", "google/protobuf/struct.proto"),
        ("google.protobuf.Struct.FieldsEntry", "google/protobuf/struct.proto"),
        ("google.protobuf.NULL_VALUE", "google/protobuf/struct.proto"),
        ("google.rpc.ErrorInfo", "google/rpc/error_details.proto"),
        ("grpc.reflection.v1.ServerReflection", "grpc_reflection/v1/reflection.proto"),
        ("grpc.reflection.v1.ServerReflectionRequest.host", "grpc_reflection/v1/reflection.proto"),
    ],
)
async def test_a_symbol_leads_to_its_file_and_all_that_it_imports(version: Any, symbol: str, file: str) -> None:
    answer = await asked(version, file_containing_symbol=symbol)
    raws = answer.file_descriptor_response.file_descriptor_proto
    files = [FileDescriptorProto.FromString(raw) for raw in raws]
    assert files[0].name == file
    names = [each.name for each in files]
    assert len(set(names)) == len(names)
    assert {imported for each in files for imported in each.dependency} <= set(names)


@pytest.mark.parametrize(
    "request_",
    [
        {"file_containing_symbol": "agentring.v1.SessionService.Unheard"},
        {"file_containing_symbol": "agentring.v1.Event.unheard"},
        {"file_containing_symbol": ""},
        {"file_containing_symbol": "agentring.v1"},
        {"file_by_filename": "unheard.proto"},
        {"all_extension_numbers_of_type": "unheard.Type"},
        {"file_containing_extension": {"containing_type": "agentring.v1.Event", "extension_number": 7}},
    ],
)
async def test_what_is_not_there_is_not_found(version: Any, request_: dict[str, Any]) -> None:
    assert (await asked(version, **request_)).error_response.error_code == 5


async def test_a_request_for_nothing_is_refused(version: Any) -> None:
    assert (await asked(version)).error_response.error_code == 3


async def test_files_and_extensions_are_told_by_name(version: Any) -> None:
    answer = await asked(version, file_by_filename="agentring/v1/task.proto")
    (first, *_) = answer.file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(first).name == "agentring/v1/task.proto"
    answer = await asked(version, all_extension_numbers_of_type="agentring.v1.Event")
    assert answer.all_extension_numbers_response.base_type_name == "agentring.v1.Event"
    assert list(answer.all_extension_numbers_response.extension_number) == []


async def test_services_are_listed_in_order(version: Any) -> None:
    answer = await asked(version, list_services="")
    assert [each.name for each in answer.list_services_response.service] == [
        "agentring.v1.SessionService",
        "agentring.v1.TaskService",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
