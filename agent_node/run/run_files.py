"""The parts of a run's input and the files it puts out: a part of its Context.

Guarantees: what a file's event refers to is in the store before the event is in the log. Nothing is read before the
agent asks for it.
"""

from collections.abc import Sequence
from functools import partial

from agent_node.run.input_parts import problem_of_file
from agent_node.run.run_input import TurnInput
from agent_node.run.run_log import RunLog
from agentring.agent.files import File, FilePart, JsonPart, Part, TextPart
from agentring.plain_json import from_value
from agentring.v1 import session_pb2


class RunFiles:
    """Of one run under way. RunContext (context.py) is made of it."""

    _turn: TurnInput
    _log: RunLog

    @property
    def input_parts(self) -> Sequence[Part]:
        """As Context."""
        if not self._turn.parts:
            return (TextPart(self._turn.text),) if self._turn.text else ()
        turn_input = session_pb2.Input.FromString(self._turn.parts)
        return tuple(self._part(part) for part in turn_input.parts)

    async def put_out(self, file: File) -> None:
        """Keeps a file that the agent has yielded, and publishes that there is one. Raises TypeError, ValueError,
        FilesFull, NodeFenced, and what the store raises."""
        self._log.check()
        if type(file.data) is not bytes or type(file.media_type) is not str or type(file.name) is not str:
            raise TypeError("a File has bytes, a media type and a name, which are str")
        if self._turn.records is None:
            raise RuntimeError("files are for the turns of a session: a task keeps none")
        put_out = session_pb2.FileOutput()
        made, put_out.file.sha256 = put_out.file, bytes(32)
        made.size_bytes, made.media_type, made.name = len(file.data), file.media_type, file.name
        if problem := problem_of_file(made):
            raise ValueError(f"the file cannot be put out: {problem}")
        made.sha256 = await self._turn.records().put_file(file.data)
        self._log.append(session_pb2.Event(file_output=put_out))

    def _part(self, part: session_pb2.Part) -> Part:
        match part.WhichOneof("content"):
            case "text":
                return TextPart(part.text)
            case "json":
                return JsonPart(from_value(part.json))
        file = part.file
        read = partial(self._read_file, file.sha256)
        return FilePart(file.media_type, file.size_bytes, file.name, file.sha256.hex(), read)

    async def _read_file(self, digest: bytes) -> bytes:
        self._log.check()
        assert self._turn.records is not None  # a task's input has no files
        return await self._turn.records().read_file(digest)
