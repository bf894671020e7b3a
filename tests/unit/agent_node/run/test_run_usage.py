"""What an agent counts of its run goes out with its end."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_node.run.outcome import Completed
from agent_node.run.run_usage import RunUsage
from agentring.agent import AgentEvent, Context, Usage
from harness.bench import Bench, completed


async def test_the_sum_goes_out_with_the_end_and_nothing_where_nothing_was_counted(bench: Bench) -> None:
    async def counting(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.add_usage(Usage(10, 2, 3, 1))
        yield ""
        ctx.add_usage(Usage(input_tokens=5, model_calls=1))

    async def silent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""

    used = completed(await bench.run(counting)).to_event().usage
    assert (used.input_tokens, used.output_tokens, used.cached_tokens, used.model_calls) == (15, 2, 3, 2)
    assert not completed(await bench.run(silent)).to_event().HasField("usage")


def test_a_usage_of_nothing_was_counted_all_the_same() -> None:
    run = RunUsage()
    run.add_usage(Usage())
    assert Completed("", 0, "{}", None, run.usage).to_event().HasField("usage")


@pytest.mark.parametrize("counts", [(-1,), (1.5,), (True,), (2**53 + 1,), ("1",)])
def test_what_is_no_count_is_refused(counts: Any) -> None:
    with pytest.raises(ValueError, match="whole numbers from 0"):
        Usage(*counts)


def test_a_sum_beyond_the_most_and_what_is_no_usage_are_refused() -> None:
    run = RunUsage()
    run.add_usage(Usage(2**53))
    with pytest.raises(ValueError, match="whole numbers"):
        run.add_usage(Usage(1))
    with pytest.raises(TypeError, match="takes a Usage, not int"):
        run.add_usage(5)  # type: ignore[arg-type]
    assert run.usage == Usage(2**53)
