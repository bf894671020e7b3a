"""How often a limit has refused something, for the node's metrics. Counts of tenants are kept of a bounded number."""

from collections import Counter

_MOST_TENANTS = 200


class Refusals:
    """Since the process began."""

    def __init__(self) -> None:
        self.by_limit: Counter[str] = Counter()
        self.by_tenant: Counter[str] = Counter()
        """Of the first tenants that were refused something; the empty one: of all others."""

    def add(self, what: str, tenant: str) -> None:
        """One more."""
        self.by_limit[what] += 1
        is_named = tenant in self.by_tenant or len(self.by_tenant) < _MOST_TENANTS
        self.by_tenant[tenant if is_named else ""] += 1
