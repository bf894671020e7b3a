"""Reflection (grpc.reflection.v1 and v1alpha), for grpcurl, ghz and their like. Called by the server.

Guarantees: every symbol of the served services' files can be asked for by its full name, methods, fields, oneofs and
values of enums among them; an answer brings the file and all that it imports. grpcio-reflection's own servicer knows
messages, enums and services alone, and speaks v1alpha alone. The two versions differ in their package's name only, so
v1's descriptor is made from v1alpha's.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc_reflection.v1alpha import reflection_pb2

from agentring.rpc.service import Call

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_POOL = descriptor_pool.Default()
_OF_ERRORS = (status_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR)
"""What errors' details are made of; no service imports it."""


def _make_v1() -> FileDescriptor:
    proto = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    proto.package, proto.name = _V1, proto.name.replace("v1alpha", "v1")
    for message in proto.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_ALPHA, _V1)
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_ALPHA, _V1)
            method.output_type = method.output_type.replace(_ALPHA, _V1)
    _POOL.AddSerializedFile(proto.SerializeToString())
    return _POOL.FindFileByName(proto.name)


SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    file.services_by_name["ServerReflection"]  # type: ignore[misc]
    for file in (_make_v1(), reflection_pb2.DESCRIPTOR)
)
"""Both versions of the service."""


class Symbols:
    """The files of services, and where each of their symbols stands."""

    def __init__(self, services: Sequence[str]) -> None:
        """services: full names, of what this process has imported."""
        self.services = sorted(services)
        found = [_POOL.FindServiceByName(service).file for service in self.services]
        self._files = {file.name: file for root in (*found, *_OF_ERRORS) for file in with_imports(root)}
        self._by_symbol = {symbol: file for file in self._files.values() for symbol in _symbols(file)}

    def file(self, name: str) -> FileDescriptor:
        """By its path. Raises KeyError."""
        return self._files[name]

    def containing(self, symbol: str) -> FileDescriptor:
        """By a symbol's full name. Raises KeyError."""
        return self._by_symbol[symbol.removeprefix(".")]


class Reflection:
    """One version of the service."""

    def __init__(self, service: ServiceDescriptor, symbols: Symbols) -> None:
        """service: of SERVICES."""
        self._response_class: Any = GetMessageClass(service.methods_by_name["ServerReflectionInfo"].output_type)
        self._symbols = symbols

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], call: Call) -> None:
        """An answer for each request."""
        async for request in requests:
            response = self._response_class(valid_host=request.host, original_request=request)
            try:
                self._answer(request, response)
            except KeyError:
                response.error_response.error_code = StatusCode.NOT_FOUND.value[0]
                response.error_response.error_message = "there is no such file, symbol or extension"
            await call.send(response)

    def _answer(self, request: Any, response: Any) -> None:
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in self._symbols.services:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                _put(response, self._symbols.file(request.file_by_filename))
            case "file_containing_symbol":
                _put(response, self._symbols.containing(request.file_containing_symbol))
            case "file_containing_extension":
                asked = request.file_containing_extension
                extended = _POOL.FindMessageTypeByName(asked.containing_type)
                extension: Any = _POOL.FindExtensionByNumber(extended, asked.extension_number)
                _put(response, extension.file)
            case "all_extension_numbers_of_type":
                extended = _POOL.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = response.all_extension_numbers_response
                numbers.base_type_name = extended.full_name
                numbers.extension_number.extend(sorted(each.number for each in _POOL.FindAllExtensions(extended)))
            case _:
                response.error_response.error_code = StatusCode.INVALID_ARGUMENT.value[0]
                response.error_response.error_message = "the request asks for nothing that is known here"


def with_imports(file: FileDescriptor) -> list[FileDescriptor]:
    """A file, and all that it imports, each once."""
    found = {file.name: file}
    waiting = [file]
    while waiting:
        for imported in waiting.pop().dependencies:
            if imported.name not in found:
                found[imported.name] = imported
                waiting.append(imported)
    return list(found.values())


def _put(response: Any, file: FileDescriptor) -> None:
    serialized = [each.serialized_pb for each in with_imports(file)]
    response.file_descriptor_response.file_descriptor_proto.extend(serialized)


def _symbols(file: FileDescriptor) -> Iterator[str]:
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)
    yield from (extension.full_name for extension in file.extensions_by_name.values())
    yield from _of_enums(file.enum_types_by_name.values(), file.package)
    for message in file.message_types_by_name.values():
        yield from _of_message(message)


def _of_message(message: Descriptor) -> Iterator[str]:
    yield message.full_name
    yield from (field.full_name for field in message.fields)
    yield from (oneof.full_name for oneof in message.oneofs)
    yield from (extension.full_name for extension in message.extensions)
    yield from _of_enums(message.enum_types, message.full_name)
    for nested in message.nested_types:
        yield from _of_message(nested)


def _of_enums(enums: Iterable[EnumDescriptor], scope: str) -> Iterator[str]:
    """A value is its enum's sibling, as protobuf has it; people also look for it inside of its enum."""
    for enum in enums:
        yield enum.full_name
        for value in enum.values:
            yield f"{scope}.{value.name}" if scope else value.name
            yield f"{enum.full_name}.{value.name}"
