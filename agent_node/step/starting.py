"""What a step waits for before it begins: the end of a halt, and its place where its function has few.

Guarantees: what waits for the end of a halt keeps no place from others. Used by steps.py.
"""

from agent_node.step.function import StepOptions
from agent_node.step.step_run import Gate


async def may_begin(gate: Gate, options: StepOptions) -> None:
    """Returns once the step may begin, with its place. Raises Halted. Cancellation: the place may be taken."""
    while True:
        if gate.is_shut:
            await gate.pass_by()
        if options.take_place is None:
            return
        await options.take_place()
        if not gate.is_shut:
            return
        options.leave_place()


async def may_still_begin(gate: Gate, options: StepOptions) -> None:
    """As may_begin, of one that was about to."""
    if gate.is_shut:
        options.leave_place()
        await may_begin(gate, options)
