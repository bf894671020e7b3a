"""Frames as they are written: read back by hyperframe, which is not ours."""

import pytest
from hyperframe import frame as hyper

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from harness.http2_frames import parse


def read(data: bytes) -> hyper.Frame:
    found, length = hyper.Frame.parse_frame_header(memoryview(data[:9]))
    assert length == len(data) - 9
    found.parse_body(memoryview(data[9:]))
    return found


def test_settings_are_written_in_their_order() -> None:
    found = read(frames.settings({Setting.MAX_CONCURRENT_STREAMS: 7, Setting.INITIAL_WINDOW_SIZE: 65_536}))
    assert isinstance(found, hyper.SettingsFrame)
    assert found.stream_id == 0
    assert not found.flags
    assert list(found.settings.items()) == [(3, 7), (4, 65_536)]


def test_an_acknowledgement_of_settings_is_empty() -> None:
    found = read(frames.SETTINGS_ACK)
    assert isinstance(found, hyper.SettingsFrame)
    assert "ACK" in found.flags
    assert found.settings == {}


def test_window_updates_name_stream_and_increment() -> None:
    found = read(frames.window_update(5, frames.MAX_WINDOW))
    assert isinstance(found, hyper.WindowUpdateFrame)
    assert (found.stream_id, found.window_increment) == (5, frames.MAX_WINDOW)


def test_resets_name_stream_and_code() -> None:
    found = read(frames.rst_stream(9, Code.REFUSED_STREAM))
    assert isinstance(found, hyper.RstStreamFrame)
    assert (found.stream_id, found.error_code) == (9, 7)


@pytest.mark.parametrize("ack", [False, True])
def test_pings_carry_8_bytes(ack: bool) -> None:
    found = read(frames.ping(b"12345678", ack=ack))
    assert isinstance(found, hyper.PingFrame)
    assert found.opaque_data == b"12345678"
    assert ("ACK" in found.flags) is ack


def test_goaway_says_why() -> None:
    found = read(frames.goaway(3, Code.ENHANCE_YOUR_CALM, "too many pings"))
    assert isinstance(found, hyper.GoAwayFrame)
    assert (found.last_stream_id, found.error_code, found.additional_data) == (3, 11, b"too many pings")


@pytest.mark.parametrize("end_stream", [False, True])
def test_data_may_end_the_stream(end_stream: bool) -> None:
    found = read(frames.data(1, b"abc", end_stream=end_stream))
    assert isinstance(found, hyper.DataFrame)
    assert found.data == b"abc"
    assert ("END_STREAM" in found.flags) is end_stream


@pytest.mark.parametrize("length", [0, 1, 5, frames.MAX_FRAME_BYTES])
def test_the_table_of_data_heads_is_what_data_begins_with(length: int) -> None:
    assert frames.DATA_HEADS[length] + frames.WORD.pack(77) == frames.data(77, bytes(length))[:9]


@pytest.mark.parametrize("length", [0, 99, 100])
def test_a_block_that_fits_is_one_frame(length: int) -> None:
    (found,) = parse(frames.headers(3, bytes(length), end_stream=True, max_frame_bytes=100))
    assert found == (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 3, bytes(length))


@pytest.mark.parametrize(("length", "sizes"), [(101, [100, 1]), (200, [100, 100]), (250, [100, 100, 50])])
def test_a_longer_block_goes_on_in_continuations(length: int, sizes: list[int]) -> None:
    found = list(parse(frames.headers(3, bytes(length), end_stream=True, max_frame_bytes=100)))
    assert [len(each.payload) for each in found] == sizes
    assert [each.kind for each in found] == [frames.HEADERS] + [frames.CONTINUATION] * (len(sizes) - 1)
    assert [each.flags for each in found[:-1]] == [frames.END_STREAM] + [0] * (len(sizes) - 2)
    assert found[-1].flags == frames.END_HEADERS
