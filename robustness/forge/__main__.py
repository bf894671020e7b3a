"""Tries tokens that nobody signed on the code that checks them: none may be believed, or hold the loop up.

    scripts/forge                        # 10,000 changed tokens, and the known attacks
    scripts/forge --count 100000 --seed 7 --json

What it does: makes an issuer, an auth file and good tokens; changes these (characters, parts, claims, header, bits of
the signature, another signer), and makes the known attacks on JWT (none, the public key as a secret, kid, jku, x5u,
b64, crit, huge, nested, fields twice, odd times and audiences). Each is checked to the end. Then all are handed over as
fast as an event loop takes them.

Passed: none accepted, none that took more than 10 ms of CPU, no error but a refusal; in the flood, tokens have a fifth
of the loop's time, and who was known before stays known.

Exit status: 0 if all passed; 1 if not; 2 for arguments that cannot be meant.
"""

import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness.token_attacks import ATTACKS, mutated
from robustness.forge.run import MOST_S, check_all, flood, most_share

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def forge(
    count: Annotated[int, typer.Option(min=1, help="How many changed tokens.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="CPU time of the flood.")] = 5.0,
    to_json: Annotated[bool, typer.Option("--json", help="JSON instead of lines.")] = False,
) -> None:
    """Runs it."""
    forged = [*mutated(count, seed), *(make() for make in ATTACKS.values())]
    with tempfile.TemporaryDirectory(prefix="agentring-forge-") as directory:
        checked = check_all(Path(directory), forged)
        flooded = asyncio.run(flood(Path(directory), forged, seconds))
    passed = not checked.accepted and not checked.crashes and checked.slowest_s <= MOST_S
    passed = passed and flooded.longest_s <= MOST_S and flooded.share <= most_share(seconds) and flooded.known_accepted
    if to_json:
        print(json.dumps({"checked": asdict(checked), "flood": asdict(flooded), "passed": passed}, indent=2))
    else:
        print(f"{checked.count} forged tokens: {len(checked.accepted)} accepted, {len(checked.crashes)} crashes")
        print(f"the slowest took {checked.slowest_s * 1000:.2f} ms of CPU (at most {MOST_S * 1000:.0f})")
        print(f"flood: {flooded.looked_at} looked at, {flooded.unchecked} not; {flooded.share:.1%} of the loop's time,")
        served = "served" if flooded.known_accepted else "NOT served"
        print(f"the longest {flooded.longest_s * 1000:.2f} ms; known callers {served}")
        for each in (*checked.accepted, *checked.crashes):
            print(f"  {each}")
        print("passed" if passed else "FAILED")
    raise typer.Exit(0 if passed else 1)


if __name__ == "__main__":
    app(prog_name="scripts/forge")
