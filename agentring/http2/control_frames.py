"""A connection's own frames: settings, windows, PING, GOAWAY, PRIORITY.

What a peer may send of them without purpose is counted in buckets (limits.py). Connection windows are hop by hop and
always topped up; it is the streams' windows that hold a sender back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agentring.http2 import frames
from agentring.http2.frames import Code, ConnectionBroken, Setting, StreamBroken
from agentring.http2.limits import Bucket, Limits, TooMany
from agentring.http2.send_side import CROWDED_PING, SendSide

_RECEIVE_WINDOW: Final = 1 << 24
_MAX_UNSENT_REPLIES: Final = 1_000
"""Answers to PING and SETTINGS that a peer which does not read may make us hold."""


_DEFAULT_TABLE_BYTES: Final = 4096
FREE_UPDATES: Final = 100
"""Most peers open the connection's window at once, and some a stream's when they open it."""


class ControlFrames(SendSide):
    """The part of a connection that is about itself."""

    def __init__(self, limits: Limits, now_s: float, wake: Callable[[], None]) -> None:
        """As SendSide."""
        super().__init__(limits, now_s, wake)
        self._settings_seen = False
        self.goaway_code = -1
        """What the peer's last GOAWAY was for; below 0: there was none."""
        self._receive_window = frames.DEFAULT_WINDOW
        self._windows_granted = frames.DEFAULT_WINDOW
        self._data_sent_at_ping = 0
        self._updates = 0
        """WINDOW_UPDATEs so far: as many as bytes of DATA that were sent have a purpose."""
        self._pings = Bucket("pings", limits.pings, now_s)
        self._settings = Bucket("settings", limits.settings, now_s)
        self._idle_frames = Bucket("idle frames", limits.idle_frames, now_s)

    def open(self, settings: dict[Setting, int]) -> None:
        """Sends our SETTINGS and opens the connection's window."""
        self.write(frames.settings(settings) + frames.window_update(0, _RECEIVE_WINDOW - self._receive_window))
        self._receive_window = _RECEIVE_WINDOW

    # What differs between the two roles.

    def _goaway(self, last_stream_id: int) -> None:
        raise NotImplementedError

    def _is_idle(self, stream_id: int) -> bool:
        """Whether no stream of this id was ever opened."""
        raise NotImplementedError

    def _settings_acknowledged(self) -> None:
        raise NotImplementedError

    def _peer_settings_changed(self) -> None:
        """After the peer's SETTINGS were applied."""

    def _setting(self, name: int, value: int) -> None:
        """A setting that only one role reads."""

    # Frames.

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id != 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS has no bytes")
            self._settings_acknowledged()
            return
        if len(payload) % frames.SETTING.size:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "SETTINGS have 6 bytes each")
        if self._settings_seen:
            self._settings.take(self.now_s)
        self._settings_seen = True
        window_before = self.peer_initial_window
        for name, value in frames.SETTING.iter_unpack(payload):
            self._apply(name, value)
        self._reply(frames.SETTINGS_ACK)
        if change := self.peer_initial_window - window_before:
            for stream in list(self.streams.values()):
                if stream.window + change > frames.MAX_WINDOW:
                    raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "a stream's window is out of bounds")
                stream.add_window(change)
        self._peer_settings_changed()

    def _apply(self, name: int, value: int) -> None:
        if name == Setting.ENABLE_PUSH:
            if value > 1:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        elif name == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is out of bounds")
            self.peer_initial_window = value
        elif name == Setting.MAX_FRAME_SIZE:
            if not frames.MAX_FRAME_BYTES <= value <= frames.LARGEST_MAX_FRAME_BYTES:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of bounds")
            self.peer_max_frame_bytes = value
        elif name == Setting.HEADER_TABLE_SIZE:
            if value < _DEFAULT_TABLE_BYTES:
                self._table_shrunk = True
        else:
            self._setting(name, value)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionBroken(Code.PROTOCOL_ERROR, "PUSH_PROMISE was not asked for")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "PING has 8 bytes")
        if stream_id != 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "PING on a stream")
        if flags & frames.ACK:
            if self.is_crowded and payload == CROWDED_PING:
                self.crowd_answered()
                return
            if self.ping_sent_s is None:
                self._idle_frames.take(self.now_s)
            self.ping_sent_s = None
            self._ping_answered(payload)
            return
        if (data_sent := self._data_sent()) == self._data_sent_at_ping:
            self._pings.take(self.now_s)
        self._data_sent_at_ping = data_sent
        self._reply(frames.ping(payload, ack=True))

    def _data_sent(self) -> int:
        """How many bytes of DATA the peer was sent. Clients measure the network by a PING for what they receive."""
        return self._windows_granted - self.send_window

    def _ping_answered(self, payload: bytes) -> None:
        """The peer has answered a PING of ours."""

    def _reply(self, frame: bytes) -> None:
        self.unsent_replies += 1
        if self.unsent_replies > _MAX_UNSENT_REPLIES:
            raise TooMany("unread replies")
        self.write(frame)

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id != 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < frames.TWO_WORDS.size:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "GOAWAY is too short")
        last_stream_id, self.goaway_code = frames.TWO_WORDS.unpack_from(payload)
        self._goaway(last_stream_id & frames.MAX_STREAM_ID)

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        increment = frames.WORD.unpack(payload)[0] & frames.MAX_WINDOW
        self._updates += 1
        if self._updates > self._data_sent() + FREE_UPDATES:
            self._idle_frames.take(self.now_s)
        if stream_id == 0:
            if increment == 0:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "a window grows by at least 1")
            self.send_window += increment
            self._windows_granted += increment
            if self.send_window > frames.MAX_WINDOW:
                raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "the connection's window is out of bounds")
            self.unblock()
        elif (stream := self.streams.get(stream_id)) is not None:
            if increment == 0:
                raise StreamBroken(Code.PROTOCOL_ERROR, "a window grows by at least 1")
            if stream.window + increment > frames.MAX_WINDOW:
                raise StreamBroken(Code.FLOW_CONTROL_ERROR, "the stream's window is out of bounds")
            stream.add_window(increment)
        elif self._is_idle(stream_id):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was not opened")
        else:
            self._idle_frames.take(self.now_s)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            raise StreamBroken(Code.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
        if frames.WORD.unpack_from(payload)[0] & frames.MAX_STREAM_ID == stream_id:
            raise StreamBroken(Code.PROTOCOL_ERROR, "a stream depends on itself")
        self._idle_frames.take(self.now_s)

    def _received(self, length: int) -> None:
        """Counts DATA on the connection's window and tops it up."""
        self._receive_window -= length
        if self._receive_window < 0:
            raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if self._receive_window < _RECEIVE_WINDOW // 2:
            self.write(frames.window_update(0, _RECEIVE_WINDOW - self._receive_window))
            self._receive_window = _RECEIVE_WINDOW
