"""Runs of agents in child processes of the node: those whose earlier run may have ended a node.

A node ends and nobody knows why: the machine, an operator, or an agent (`os._exit`, a C library, a blocked event loop).
Every turn and task that it ran may be the cause. Running them again as before would end node after node; running each
alone on a node would stop all others, and a turn that waits for another would wait for ever. So they are run again at
once, each in a child process of the next node: what ends that process has ended its own run alone, and is known to be
to blame. Of a run that was begun before, the store knows how many of its ends were the end of its node (`deaths`).

A process that is forked when the node starts, before there are threads, an event loop or connections (fork_server.py),
forks one child for each such run. The child runs the agent as a node does (child.py); its events, the tools that it
starts, its questions and its steps go through the node (run.py), which alone has the lease, the store and the
claims.

What differs for an agent: it shares no memory with its other runs on the node, and what it leaves behind ends with its
run.
"""
