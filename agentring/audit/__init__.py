"""The audit of access: who called which method, of what, from where, and whether that was allowed.

Not to be taken for a node's log of state transitions (agent_node/audit.py, `--audit-log`), which says what sessions and
tasks went through and is read by the checker of `scripts/chaos`.

`access_log` is what a process writes, line by line sealed by `chain`; `anchoring` has the chain's head kept elsewhere;
`verify` finds what was changed since.
"""
