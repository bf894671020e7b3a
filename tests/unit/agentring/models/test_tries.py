"""Which failures of a model are tried again, and what becomes of what a broken try said."""

import pytest

from agentring.agent import Retry
from agentring.models import ModelFailed, Reply, Usage, user
from agentring.models.tries import BrokenOff, tries
from harness.scripted_model import ScriptedModel, Try, broken

AT_ONCE = Retry(most_tries=3, first_wait_s=0, most_wait_s=5, errors=(ModelFailed,))


async def said(*script: Try, retry: Retry = AT_ONCE) -> list[str | BrokenOff | Reply]:
    """All that comes of the tries."""
    return [piece async for piece in tries(ScriptedModel(*script), [user("x")], (), retry)]


async def test_one_try_that_goes_well_is_all() -> None:
    assert await said(["a", "", "b", Reply("ab")]) == ["a", "b", Reply("ab")]


async def test_what_a_broken_try_said_is_void_and_it_counts() -> None:
    paid_twice = Reply("b", usage=Usage(model_calls=2))
    error = broken()
    assert await said(["a", error], ["b", Reply("b")]) == ["a", BrokenOff(error), "b", paid_twice]
    assert await said([broken()], ["b", Reply("b")]) == ["b", paid_twice]


async def test_a_failure_that_is_final_is_raised_at_once() -> None:
    with pytest.raises(ModelFailed, match=r"no key$"):
        await said([broken("no key", is_retryable=False)], [Reply("")])


async def test_after_the_most_tries_it_says_how_many_there_were() -> None:
    with pytest.raises(ModelFailed, match=r"it broke off \(tried 3 times\)"):
        await said(*([broken()] for _ in range(3)))


async def test_a_wait_that_is_too_long_is_not_waited_for() -> None:
    with pytest.raises(ModelFailed, match="it asks to wait 3600 s, longer than the 5 s of the policy"):
        await said([broken(retry_after_s=3600)], [Reply("")])


async def test_a_wait_that_it_asks_for_is_waited_for() -> None:
    assert await said([broken(retry_after_s=0.01)], [Reply("")]) == [Reply("", usage=Usage(model_calls=2))]


async def test_a_policy_that_names_other_errors_tries_nothing_again() -> None:
    with pytest.raises(ModelFailed):
        await said([broken()], [Reply("")], retry=Retry(errors=(ConnectionError,)))


@pytest.mark.parametrize("script", [[], ["a"], [Reply("a"), "b"], [Reply("a"), Reply("a")], ["b", Reply("a")]])
async def test_a_model_that_does_not_end_with_one_reply_is_at_fault(script: Try) -> None:
    with pytest.raises(TypeError, match="the model scripted"):
        await said(script)


async def test_what_a_model_does_not_say_in_pieces_comes_with_its_reply() -> None:
    assert await said([Reply("all")]) == ["all", Reply("all")]
    assert await said(["al", Reply("all")]) == ["al", "l", Reply("all")]


async def test_a_reader_that_leaves_ends_the_try() -> None:
    model = ScriptedModel(["a", "b", Reply("ab")])
    stream = tries(model, [user("x")], (), AT_ONCE)
    assert await anext(stream) == "a"
    assert model.open == 1
    await stream.aclose()
    assert model.open == 0
