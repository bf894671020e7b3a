"""What routers and nodes must agree on: etcd, lease, registration, claim, membership, keys and ring.

The ring proposes an owner, the etcd claim decides, the epoch fences.
"""
