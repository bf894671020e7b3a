"""A session's turns and its files: what a turn refers to is there, and stays until it has ended."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from hashlib import sha256

import pytest
from google.protobuf.struct_pb2 import Value

from agent_node.session import files
from agent_node.store import Ownership
from agent_node.store.file_records import FileChunk
from agentring.agent import AgentEvent, Context, File, FilePart, JsonPart, TextPart
from agentring.errors import FileNotFound, FilesFull, InvalidFile, InvalidPart, MalformedRequest, SessionClosed
from agentring.plain_json import to_value
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE, ON_BUSY_INTERRUPT, BlobRef, Input, Part
from harness.premises import Stage
from harness.sessions import Actor, acting

CAT = b"\x89PNG cat"
NUMBERS = Part(json=to_value([1, 2.5]))


def ref(data: bytes, media_type: str = "image/png", name: str = "") -> Part:
    return Part(file=BlobRef(sha256=sha256(data).digest(), size_bytes=len(data), media_type=media_type, name=name))


async def looking(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Says what it was given, and gives the files back."""
    for part in ctx.input_parts:
        match part:
            case TextPart(text=text):
                yield f"[{text}]"
            case JsonPart(value=value):
                yield f"[{value!r}]"
            case FilePart(media_type=media_type, size_bytes=size_bytes, name=name):
                yield f"[{name} {media_type} {size_bytes}]"
                yield File(await part.read() + b"!", "image/png", f"{name}!")
    yield f"[{ctx.input_text}]"


async def submit(actor: Actor, turn_id: str, *parts: Part, text: str = "") -> None:
    await actor.session.submit(turn_id, Input(text=text, parts=parts), ON_BUSY_ENQUEUE)


async def said(actor: Actor, turn_id: str) -> str:
    (end,) = await actor.until_ended(turn_id)
    assert end == "turn_completed"
    return "".join(each.text_delta.text for each in actor.events() if each.turn_id == turn_id)


async def test_an_agent_is_given_the_parts_in_their_order_and_puts_files_out() -> None:
    async with acting(looking) as actor:
        await actor.session.put_file(CAT)
        await submit(
            actor, "a", ref(CAT, name="cat.png"), Part(json=to_value([1, 2.5])), Part(text="what?"), text="Look:"
        )
        assert await said(actor, "a") == "[Look:][cat.png image/png 8][[1, 2.5]][what?][Look:\nwhat?]"
        (put_out,) = [each.file_output.file for each in actor.events() if each.HasField("file_output")]
        assert (put_out.name, put_out.media_type, put_out.size_bytes) == ("cat.png!", "image/png", 9)
        assert await files.read(actor.store, actor.session.ref, put_out.sha256) == CAT + b"!"
        assert actor.session.stored.history[-1].input_text == "Look:\nwhat?"
        (accepted,) = [each.turn_accepted for each in actor.events() if each.HasField("turn_accepted")]
        assert accepted.input.parts[0].file.sha256 == sha256(CAT).digest()


async def test_a_text_alone_is_one_part_and_nothing_is_none() -> None:
    async with acting(looking) as actor:
        await submit(actor, "a", text="hi")
        await submit(actor, "b")
        assert [await said(actor, "a"), await said(actor, "b")] == ["[hi][hi]", "[]"]


async def test_a_turn_with_a_file_that_is_not_there_is_not_accepted() -> None:
    async with acting(looking) as actor:
        with pytest.raises(FileNotFound) as found:
            await submit(actor, "a", ref(CAT))
        assert found.value.sha256 == sha256(CAT).hexdigest()
        assert actor.kinds == []
        await actor.session.put_file(CAT)
        await submit(actor, "a", ref(CAT))  # under the same name: it was never known
        assert "[ image/png 8]" in await said(actor, "a")


async def test_a_turn_that_is_sent_again_is_known_though_its_files_are_gone() -> None:
    async with acting(looking) as actor:
        await actor.session.put_file(CAT)
        await submit(actor, "a", ref(CAT))
        await said(actor, "a")
        actor.store.memory.files.forget(actor.session.ref)
        await submit(actor, "a", ref(CAT))
        assert len([each for each in actor.kinds if each.startswith("turn_accepted")]) == 1


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (Part(), "neither"),
        (Part(json=Value(number_value=float("nan"))), "NaN"),
        (Part(file=BlobRef(sha256=b"x" * 31, media_type="a/b")), "31 bytes"),
        (Part(file=BlobRef(sha256=bytes(32), media_type="a/b", size_bytes=1 << 30)), "more than"),
        (Part(file=BlobRef(sha256=bytes(32), media_type="image")), "media_type"),
        (Part(file=BlobRef(sha256=bytes(32), media_type="Image/PNG")), "media_type"),
        (Part(file=BlobRef(sha256=bytes(32), media_type="text/plain; charset=utf-8\n")), "media_type"),
        (Part(file=BlobRef(sha256=bytes(32), media_type="image/png\r\n; x: y")), "media_type"),
        (Part(file=BlobRef(sha256=bytes(32), media_type="a/b", name="é" * 128)), "255"),
        (Part(file=BlobRef(sha256=bytes(32), media_type="a/b", name="\x1b[2J")), "control"),
    ],
)
async def test_a_part_that_is_not_well_formed_is_refused_with_its_place(part: Part, problem: str) -> None:
    async with acting(looking) as actor:
        with pytest.raises(InvalidPart, match=problem) as refused:
            await submit(actor, "a", Part(text="first"), part)
        assert refused.value.part == 1


async def test_a_reply_has_no_files_and_an_input_at_most_64_parts() -> None:
    async with acting(looking) as actor:
        with pytest.raises(InvalidPart, match="files are for the turns"):
            await actor.session.reply("q", Input(parts=[ref(CAT)]))
        with pytest.raises(InvalidPart, match="64"):
            await submit(actor, "a", *[Part(text="x")] * 65)
        bad = Input()
        bad.data.fields["x"].number_value = float("inf")
        with pytest.raises(MalformedRequest):
            await actor.session.submit("b", bad, ON_BUSY_ENQUEUE)


async def test_the_files_of_an_open_turn_stay_and_others_make_room() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        actor.session.max_file_bytes = 20
        await actor.session.put_file(CAT)
        await submit(actor, "a", ref(CAT))
        await stage.begun.wait()
        await actor.session.put_file(b"0123456789")
        await submit(actor, "b", ref(b"0123456789"))
        with pytest.raises(FilesFull):
            await actor.session.put_file(b"another")
        await actor.session.cancel("b")
        await actor.session.put_file(b"another")  # for which the one of the cancelled turn went
        assert await files.read(actor.store, actor.session.ref, sha256(CAT).digest()) == CAT
        with pytest.raises(FileNotFound):
            await files.read(actor.store, actor.session.ref, sha256(b"0123456789").digest())
        stage.go.set()
        await actor.until_ended("a")


async def test_a_file_is_as_large_as_the_input_says() -> None:
    async with acting(looking) as actor:
        await actor.session.put_file(CAT)
        lie = ref(CAT)
        lie.file.size_bytes = 3
        with pytest.raises(InvalidPart, match="size_bytes is 3, and the file has 8"):
            await submit(actor, "a", ref(CAT), lie)


async def test_what_is_refused_for_its_files_interrupts_nothing() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        await submit(actor, "a", text="hi")
        await stage.begun.wait()
        with pytest.raises(FileNotFound):
            await actor.session.submit("b", Input(parts=[ref(CAT)]), ON_BUSY_INTERRUPT)
        stage.go.set()
        assert await actor.until_ended("a") == ["turn_completed"]


async def test_the_files_of_a_turn_that_is_being_accepted_stay() -> None:
    async with acting(looking) as actor:
        actor.session.max_file_bytes = 20
        await actor.session.put_file(CAT)
        puts: list[asyncio.Future[bytes]] = []
        store = actor.store.files
        use = store.use

        async def use_while_another_is_put(ownership: Ownership, digests: Collection[bytes]) -> Mapping[bytes, int]:
            puts.append(asyncio.ensure_future(files.put(actor.session, b"put out meanwhile", is_used=True)))
            await asyncio.sleep(0)  # it waits for the session's writer
            return await use(ownership, digests)

        store.use = use_while_another_is_put  # type: ignore[method-assign]
        await submit(actor, "a", ref(CAT))
        with pytest.raises(FilesFull):
            await puts[0]
        assert "[ image/png 8]" in await said(actor, "a")
        assert await files.put(actor.session, b"put out later", is_used=True)


async def test_a_file_that_was_put_out_by_half_is_not_used() -> None:
    data = b"x" * (1 << 20) + b"rest"
    async with acting(looking) as actor:
        kept: list[FileChunk] = []
        store = actor.store.files
        keep_chunk = store.keep_chunk

        async def keep(ownership: Ownership, chunk: FileChunk) -> None:
            kept.append(chunk)
            await keep_chunk(ownership, chunk)

        store.keep_chunk = keep  # type: ignore[method-assign]
        await files.put(actor.session, data, is_used=True)
        assert [(each.number, each.is_used) for each in kept] == [(0, False), (1, True)]
        await files.put(actor.session, data, is_used=True)
        assert [(each.number, each.is_used) for each in kept[2:]] == [(0, True)]


async def test_a_file_that_is_damaged_in_the_store_is_none() -> None:
    async with acting(looking) as actor:
        await actor.session.put_file(CAT)
        digest = sha256(CAT).digest()
        actor.store.memory.files._sessions[actor.session.ref][digest].chunks[0] = b"\x89PNG dog"
        with pytest.raises(FileNotFound):
            await files.read(actor.store, actor.session.ref, digest)


async def test_what_is_too_large_and_what_comes_too_late_is_refused() -> None:
    async with acting(looking) as actor:
        with pytest.raises(InvalidFile, match="more than"):
            await actor.session.put_file(bytes((16 << 20) + 1))
        await actor.session.close(0.0)
        with pytest.raises(SessionClosed):
            await actor.session.put_file(CAT)


@pytest.mark.parametrize(
    "file",
    [File("text", "a/b"), File(b"", "no type"), File(b"", "a/b", name="x" * 256)],  # type: ignore[arg-type]
)
async def test_a_file_that_cannot_be_put_out_fails_the_turn(file: File) -> None:
    async def careless(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield file

    async with acting(careless) as actor:
        await submit(actor, "a")
        assert await actor.until_ended("a") == ["turn_failed"]
        assert "file_output a" not in actor.kinds
