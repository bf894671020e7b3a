"""Whether work that was accepted for somebody may go on: turns and tasks outlive the call that brought them.

Guarantees: what was revoked begins no step any more, wherever its work is taken up; a credential that has merely ended,
or was replaced by another one of the same subject, ends none. Asked by nodes before each step, so it is a look-up.
"""

from collections.abc import Callable

from agentring.auth.rules import Rules

_MOST_KNOWN = 10_000


class AcceptedWork:
    """What one process asks."""

    def __init__(self, rules: Callable[[], Rules]) -> None:
        """rules: those of the auth file now."""
        self._rules = rules
        self._read: Rules | None = None
        self._known: dict[tuple[str, str, str], bool] = {}
        """What was found by the rules that were read."""

    def is_revoked(self, tenant: str, subject: str, credential_id: str) -> bool:
        """As the work keeps them; an empty credential_id: nobody was asked, or it was anonymous."""
        if not credential_id:
            return False
        rules = self._rules()
        if rules is not self._read:
            self._read, self._known = rules, {}
        asked = (tenant, subject, credential_id)
        if (known := self._known.get(asked)) is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[asked] = _is_revoked(rules, *asked)
        return known


def _is_revoked(rules: Rules, tenant: str, subject: str, credential_id: str) -> bool:
    issuer, is_token, _ = subject.partition("|")
    # A key's subject may have a `|` in it, too; where no table is the issuer's any more, a token's is nobody's below.
    if is_token and issuer in rules.issuers:
        return rules.revocations.has_work(issuer, subject, credential_id)
    if rules.revocations.has_fixed(credential_id, subject):
        return True
    return not any(each.tenant == tenant and each.subject == subject for each in rules.fixed)
