"""The data plane: clients' calls carried to nodes as HTTP/2 frames (RFC 9113).

A call's way: `client_connection` -> `client_stream` -> `call` (which node, and what the client is told; with it `way`,
`reattachment` and `call_end`) -> `node_stream` -> `node_connection`, and back; connections and streams are those of
agentring/http2. What they use: `request`, `answers`, `messages`, `kept`, `patience`, `carrier` (what all calls share).
These are state machines without sockets, compiled in the wheel. Around them, with sockets: `listener`, `upstreams`, and
`relay`, which is all that the app knows.
"""
