"""What `scripts/chaos` does, and what tests/chaos uses of it.

`validate` judges what is left of a run (audit lines, clients' calls, marks of what was done, the store's commits), and
knows nothing else; `cluster` is the cluster under test, `traffic` its clients, `faults` what is done to it;
`failpoints` alters a node or a router: it stops at a point, or has one protection taken away. `run` goes through one
fault, `controls` through one for each protection that is taken away; `report` prints what was found.
"""
