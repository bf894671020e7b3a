"""Before a step begins: a run whose caller's credential was revoked begins none."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from agent_node.run.call_terms import NO_TERMS, CallTerms
from agent_node.run.run_gate import RunGate
from agent_node.run.run_input import TurnInput
from agent_node.run.time_limit import PausableDeadline
from agentring.errors import CredentialRevoked
from agentring.ids import parse_session
from harness.bench import Bench

Asked = Callable[[str, str, str], bool]


def gate(bench: Bench, is_revoked: Asked | None) -> RunGate:
    terms = CallTerms(subject="ada", credential_id="k1")
    turn = cast(TurnInput, SimpleNamespace(ref=parse_session("acme", "s"), agent="echo", terms=terms))
    return RunGate(replace(bench.env, is_revoked=is_revoked), turn, PausableDeadline(1), None, lambda: False)


async def test_a_step_begins_until_the_credential_is_revoked(bench: Bench) -> None:
    revoked = set[tuple[str, ...]]()
    run = gate(bench, lambda *work: work in revoked)
    assert not run.is_shut
    await run.pass_by()
    revoked.add(("acme", "ada", "k1"))
    assert cast(bool, run.is_shut)
    with pytest.raises(CredentialRevoked):
        await run.pass_by()


async def test_nothing_is_asked_where_nobody_is(bench: Bench) -> None:
    run = gate(bench, None)
    assert not run.is_shut
    await run.pass_by()


def test_a_run_is_asked_for_by_tenant_subject_and_credential(bench: Bench) -> None:
    asked = list[tuple[str, str, str]]()

    def is_revoked(*work: str) -> bool:
        asked.append((work[0], work[1], work[2]))
        return True

    env = replace(bench.env, is_revoked=is_revoked)
    terms = CallTerms(subject="ada", credential_id="k1")
    assert env.revocation("acme", NO_TERMS) is None
    assert bench.env.revocation("acme", terms) is None
    revoked = env.revocation("acme", terms)
    assert revoked is not None
    assert revoked()
    assert asked == [("acme", "ada", "k1")]
