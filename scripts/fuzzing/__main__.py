"""Feeds routers and servers of our own services with peers at random, as the unit tests do, for as long as you like.

    scripts/fuzz                              # all targets, a minute
    scripts/fuzz --seconds 3600 --seed 7      # the same hour each time, as far as the machine's speed allows
    scripts/fuzz --target model               # honest peers alone

What it does: `client` sends broken sessions to the router beside an honest client; `node` answers honest clients with
broken sessions; `model` lets honest clients and nodes do what is allowed in any order and checks all that they are
told; `services` sends recorded connections, mutated, to a server as nodes have one, beside a client that is served.
Nothing is opened: no sockets, no clock. A round is 200 examples of one target under one seed.

What it prints: a line for each target at the end, with examples a second; each finding as soon as there is one, made as
small as hypothesis can, with the target and the seed that lead to it again.

Exit status: 0 if nothing was found; 1 if something was; 2 for arguments that cannot be meant; 130 after Ctrl-C.
"""

import time
from collections import Counter
from itertools import count
from typing import Annotated

import structlog
import typer

from scripts.fuzzing.targets import TARGETS, play

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def fuzz(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long; the round that has begun is ended.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first round; each further one counts up.")] = 1,
    target: Annotated[str, typer.Option(help=f"all, or of {','.join(TARGETS)}.")] = "all",
) -> None:
    """Runs it."""
    names = list(TARGETS) if target == "all" else target.split(",")
    if unknown := [name for name in names if name not in TARGETS]:
        raise typer.BadParameter(f"--target: there is no {unknown[0]!r}; there are {', '.join(TARGETS)}")
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    examples: Counter[str] = Counter()
    spent_s: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    ends_s = time.monotonic() + seconds
    try:
        for seed_number in count(seed):
            for name in names:
                done = play(name, seed_number)
                examples[name] += done.examples
                spent_s[name] += done.seconds  # type: ignore[assignment]
                if done.finding:
                    findings[name] += 1
                    print(f"--- finding: --target {name} --seed {seed_number}\n{done.finding}\n", flush=True)
            if time.monotonic() >= ends_s:
                break
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    for name in names:
        rate = examples[name] / max(spent_s[name], 1e-9)
        print(f"{name:7} {examples[name]:9,} examples  {rate:6.0f}/s  {findings[name]} findings")
    if findings:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
