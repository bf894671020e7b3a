"""Where in an agent's code a coroutine waits: the innermost frame that is the author's own."""

import sysconfig
from pathlib import Path
from types import FrameType
from typing import Any

_ROOT = Path(__file__).parents[2]
_LIBRARIES = tuple(
    path + "/"
    for path in (
        *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
        *(str(_ROOT / name) for name in ("agentring", "agent_node")),
    )
)


def location_of(coroutine: Any, generator: Any) -> str:
    """As `shop.py:12, in charge`. generator: the agent's, which the coroutine of its run leads to by ways that cannot
    be seen."""
    frames = list(_frames(coroutine))
    if not frames or not any(_is_own(frame) for frame in frames):
        frames += _frames(generator)
    own = [frame for frame in frames if _is_own(frame)] or frames[-1:]
    if not own:
        return "an unknown place"
    frame = own[-1]
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}, in {frame.f_code.co_name}"


def _frames(waiting: Any) -> "list[FrameType]":
    """Of what waits and what it waits for, the innermost last."""
    found: list[FrameType] = []
    while waiting is not None:
        waiting = getattr(waiting, "_coroutine", waiting)
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None)
        if frame is not None:
            found.append(frame)
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    return found


def _is_own(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith(_LIBRARIES)
