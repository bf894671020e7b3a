"""HTTP/2 (RFC 9113): connections, streams and flow control as state machines without sockets, compiled in the wheel,
and the asyncio protocol around them (`transport`). It knows no gRPC; who uses it derives from Connection and Stream.

A connection is read by `connection` (`frames`, `header_block`, `control_frames`, `hpack`) and written by `send_side`;
`stream` has the flow control of one stream, `budget` the memory of all, `limits` what a peer may do.
"""
