"""Where a call goes: its route, the ring, the owner, and why."""
