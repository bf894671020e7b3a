"""What was revoked: found by token id, subject and time, whatever the number of rows is."""

from collections import defaultdict
from collections.abc import Iterable

from agentring.auth.tables import RevokedTable
from agentring.auth.tokens import TokenIdentity, token_name


class Revocations:
    """The rows `[[revoked]]` of an auth file. A row fits where all of its fields do."""

    def __init__(self, rows: Iterable[RevokedTable]) -> None:
        """rows: in any order."""
        self._by_id: dict[str, list[RevokedTable]] = defaultdict(list)
        self._by_subject: dict[str, list[RevokedTable]] = defaultdict(list)
        self._before: float | None = None
        for row in rows:
            if row.jti is not None:
                self._by_id[row.jti].append(row)
            elif row.subject is not None:
                self._by_subject[row.subject].append(row)
            elif row.issued_before is not None:
                self._before = max(row.issued_before, self._before or row.issued_before)

    def has_token(self, token: TokenIdentity) -> bool:
        """A token's `jti` counts, and so does the id by which logs call it."""
        if self._before is not None and _is_older(token, self._before):
            return True
        rows = [
            *self._by_id.get(token.jti, ()),
            *self._by_id.get(token.credential_id, ()),
            *self._by_subject.get(token.subject, ()),
        ]
        return any(
            (row.subject is None or row.subject == token.subject)
            and (row.issued_before is None or _is_older(token, row.issued_before))
            for row in rows
        )

    def has_fixed(self, credential_id: str, subject: str) -> bool:
        """Of an API key or a certificate's name. Rows with a time are about tokens alone."""
        rows = [*self._by_id.get(credential_id, ()), *self._by_subject.get(subject, ())]
        return any(row.issued_before is None and (row.subject is None or row.subject == subject) for row in rows)

    def has_work(self, issuer: str, subject: str, credential_id: str) -> bool:
        """Of what was accepted for a token's holder. When the token was issued is not kept of it, so rows with a time
        say nothing."""
        rows = [*self._by_subject.get(subject, ()), *self._by_id.get(credential_id, ())]
        for token_id, its in self._by_id.items():
            if token_name(issuer, token_id) == credential_id:
                rows += its
        return any(row.issued_before is None and (row.subject is None or row.subject == subject) for row in rows)


def _is_older(token: TokenIdentity, than: float) -> bool:
    return token.issued_at is None or token.issued_at < than
