"""What `scripts/chaos` does, and what tests/chaos uses of it.

`evidence` is what is left of a run: audit lines, clients' calls, marks of what was done, the store's commits. `checker`
judges it and knows nothing else; `failover` measures it. `etcd`, `links` and `world` are the cluster under test,
`traffic` its clients, `faults_*` what is done to it; `altered` is a node or router with `failpoints`, or with one
protection taken away (`mutations`, for the `controls`). `run` puts them together, `report` and `timeline` tell.
"""
