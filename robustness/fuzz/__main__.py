"""Feeds the data plane with peers at random, for as long as you like.

    scripts/fuzz                                                  # every target, a round of each
    scripts/fuzz --seconds 3600 --seed 7 --target model           # the same hour each time, as far as the speed allows
    scripts/fuzz --seconds 1800 --target router-port,node-port    # half an hour against a live cluster

What it does: `client` sends broken sessions to the router's state machines beside an honest client; `node` answers
honest clients with broken sessions; `model` and `returns` let honest clients and nodes do what is allowed in any order
and check all that they are told; `services` sends recorded connections, mutated, to a server as nodes have one. For
these nothing is opened: no sockets, no clock; a round is 200 examples of one target under one seed. `router-port` and
`node-port` break recordings of real clients (bits, bytes, frames, header fields, order, ends) and send them to a
cluster that is started for it; a round is so many connections of one seed, and after each thousand every neighbour's
turn must have gone well, every node and the router must serve, and no log may say a fault.

What it prints: a line for each target at the end, with examples or connections a second; each finding as soon as there
is one, made as small as can be, with the target and the seed that lead to it again.

Exit status: 0 if nothing was found; 1 if something was; 2 for arguments that cannot be meant; 130 after Ctrl-C.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from typing import Annotated

import structlog
import typer

from agentring.cli.errors import CommandError
from robustness.abuse.partner import PartnerFailed
from robustness.fuzz.live import PORTS, live_cluster, play_live
from robustness.fuzz.targets import TARGETS, Round, play

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_NAMES = (*TARGETS, *PORTS)

Player = Callable[[int], Awaitable[Round]]
"""Plays a round of one target under a seed."""


@app.command(help=__doc__)
def fuzz(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long; the round that has begun is ended.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first round; each further one counts up.")] = 1,
    target: Annotated[str, typer.Option(help=f"all, or of {','.join(_NAMES)}.")] = "all",
    connections: Annotated[int, typer.Option(min=1, help="How many make a round of a live port.")] = 20_000,
) -> None:
    """Runs it."""
    names = list(_NAMES) if target == "all" else target.split(",")
    if unknown := [name for name in names if name not in _NAMES]:
        raise typer.BadParameter(f"--target: there is no {unknown[0]!r}; there are {', '.join(_NAMES)}")
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    try:
        rounds = asyncio.run(_fuzz(names, seconds, seed, connections))
    except (CommandError, PartnerFailed) as error:
        print(f"fuzz: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    examples, spent_s, findings = Counter[str](), Counter[str](), Counter[str]()
    for one in rounds:
        examples[one.target] += one.examples
        spent_s[one.target] += one.seconds  # type: ignore[assignment]
        findings[one.target] += bool(one.finding)
    for name in names:
        rate = examples[name] / max(spent_s[name], 1e-9)
        print(f"{name:12} {examples[name]:9,} examples  {rate:6.0f}/s  {findings[name]} findings")
    if findings.total():
        raise typer.Exit(1)


async def _fuzz(names: list[str], seconds: float, first_seed: int, connections: int) -> list[Round]:
    rounds = []
    async with AsyncExitStack() as stack:
        players: dict[str, Player] = {}
        if any(name in PORTS for name in names):
            cluster = await stack.enter_async_context(live_cluster())
        for name in names:
            if name in PORTS:
                players[name] = partial(play_live, cluster, name, connections=connections)
            else:
                players[name] = partial(_play, name)
        ends_s = time.monotonic() + seconds
        for seed in count(first_seed):
            for name, player in players.items():
                played = await player(seed)
                rounds.append(played)
                if played.finding:
                    print(f"--- finding: --target {name} --seed {seed}\n{played.finding}\n", flush=True)
            if time.monotonic() >= ends_s:
                return rounds
    raise AssertionError("seeds do not end")


async def _play(name: str, seed: int) -> Round:
    return await asyncio.to_thread(play, name, seed)


if __name__ == "__main__":
    app()
