"""What messages of streams begin with that can be re-attached: two fixed fields (protos/agentring/v1/session.proto), so
that what they say is read at fixed places.
"""

from struct import Struct
from typing import Final

from agentring.rpc.messages import NEVER, PREFIXES

MARKS: Final = Struct("<6xQxQ")
"""through_seq and acked_frame at the beginning of a message with its prefix, each after its tag."""

NO_MARKS: Final = bytes(MARKS.size)

MARKED_PREFIXES: Final = (*(NEVER,) * MARKS.size, *PREFIXES[MARKS.size :])
"""As PREFIXES, if the message has room for its marks, too."""
