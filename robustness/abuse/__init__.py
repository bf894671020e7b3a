"""What `scripts/abuse` does.

`__main__` reads the flags, `cases` names the attacks and their limits, `run` goes through them on a `stand` (etcd, a
node, a router), with a well-behaved `neighbour` and an `attacker` in processes of their own (`partner`), `memory` looks
at the router's, `report` prints.
"""
