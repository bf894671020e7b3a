"""The data plane: clients' calls carried to nodes as HTTP/2 frames (RFC 9113).

From the wire inwards: `transport` (sockets) -> `connection` (`client_connection`, `node_connection`) -> `stream`
(`client_stream`, `node_stream`) -> `call` (which node, and what the client is told) -> `relay` (the whole, for the
app). Everything but `transport`, `listener`, `upstreams` and `relay` is a state machine without sockets.
"""
