"""The data plane: clients' calls carried to nodes as HTTP/2 frames (RFC 9113).

A call's path: `client_connection` -> `client_stream` -> `call` (which node, and what the client is sent; with it
`call_failover`, `attempts`, `reattachment` and `call_end`) -> `node_connection` -> `node_stream`, and back; connections
and streams are those of agentring/http2. `call_events` is what all of them tell a call, `context` what all calls share.
These are state machines without sockets, compiled in the wheel. Around them, with sockets: `node_pool`, and `relay`,
which is all that the app knows.
"""
