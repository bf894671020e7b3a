"""What one load run is asked to do.

Guarantees that a Plan that exists can be carried out: every field is in its range and they agree with each other. Made
by the command line and by tests; read by everything else here.
"""

import random
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from google.protobuf.struct_pb2 import Struct

from agentring.errors import InvalidSessionId
from agentring.ids import parse_session
from agentring.v1 import session_pb2

ECHO = "echo"
"""The one agent whose answer is known: so many tokens as it was asked for."""

_INDEX_DIGITS = 7


class Rpc(StrEnum):
    """Which call carries the turns."""

    CONVERSE = "converse"
    """One stream a session, its turns one after the other on it."""
    RUN_TURN = "runturn"
    """One call a turn."""


class PlanError(ValueError):
    """The plan cannot be carried out; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One load run. Raises PlanError where the fields contradict each other."""

    sessions: int = 50
    concurrency: int = 50
    """How many sessions are open at a time; each has at most one turn under way."""
    turns: int = 20
    """Turns of each session; 0: as many as duration_s allows."""
    tokens: int = 20
    """Tokens of each turn."""
    token_rate: float | None = None
    """Tokens per second at which the agent streams; None: as fast as it can."""
    rate: float | None = None
    """Turns per second over all sessions, due on a fixed schedule (open loop); None: each when the one before it has
    ended (closed loop)."""
    duration_s: float = 300.0
    """No turn is started after so many seconds; those under way may end."""
    turn_timeout_s: float = 30.0
    rpc: Rpc = Rpc.CONVERSE
    agent: str = ECHO
    session_prefix: str = "load"
    seed: int = 0
    """Names the sessions: the same seed and prefix are the same sessions again."""
    run_id: str = field(default_factory=lambda: secrets.token_hex(4))
    """Makes turn_ids new in every run: one used before would be answered from the store without running."""

    def __post_init__(self) -> None:
        for name in ("sessions", "concurrency", "duration_s", "turn_timeout_s"):
            if not getattr(self, name) > 0:
                raise PlanError(f"{name} must be positive")
        for name in ("rate", "token_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise PlanError(f"{name} must be a positive number")
        for name in ("turns", "tokens"):
            if getattr(self, name) < 0:
                raise PlanError(f"{name} must not be negative")
        if self.turns == 0 and self.concurrency < self.sessions:
            raise PlanError("with turns 0 no session ever ends: concurrency must not be lower than sessions")
        try:
            parse_session("", self.session_id(self.sessions - 1))
        except InvalidSessionId as error:
            raise PlanError(f"session_prefix makes no valid session id: {error}") from None

    @property
    def open_loop(self) -> bool:
        """Whether turns are due on a schedule of their own."""
        return self.rate is not None

    @property
    def turns_planned(self) -> int | None:
        """Turns of all sessions; None: as many as the time allows."""
        return self.sessions * self.turns or None

    @property
    def tokens_expected(self) -> int | None:
        """How many tokens each answer must have; None: that is not known of this agent."""
        return self.tokens if self.agent == ECHO else None

    def session_id(self, index: int) -> str:
        """The name of the session `index`, counted from 0."""
        tag = random.Random(self.seed).getrandbits(32)
        return f"{self.session_prefix}-{tag:08x}-{index:0{_INDEX_DIGITS}d}"

    def turn(self, number: int) -> session_pb2.Turn:
        """The turn `number` of any session, counted from 0, as it is sent."""
        data = Struct()
        data["tokens"] = self.tokens
        if self.token_rate is not None:
            data["rate"] = self.token_rate
        return session_pb2.Turn(turn_id=f"{self.run_id}-{number}", input=session_pb2.Input(data=data))
