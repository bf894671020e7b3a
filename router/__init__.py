"""The router: streams every session's calls to the node that owns the session.

The path of a call: snapshot -> ring (ring_view) -> owner -> node -> relay.
"""
