"""The data plane: clients' calls carried to nodes as HTTP/2 frames (RFC 9113).

A call's way: `client_connection` (`connection`: frames in; `control`, `outgoing`) -> `client_stream` -> `call` (which
node, and what the client is told; with it `way`, `reattachment` and `call_end`) -> `node_stream` -> `node_connection`,
and back. What they use: `frames`, `headers`, `header_block`, `request`, `answers`, `messages`, `kept`, `stream` (flow
control), `limits`, `budget`, `patience`, `carrier` (what all calls share). These are state machines without sockets,
compiled in the wheel. Around them, with sockets: `transport`, `listener`, `upstreams`, and `relay`, which is all that
the app knows.
"""
