"""What a store's URL says about TLS, as libpq has it, for the driver, which is told otherwise.

Guarantees: what is said is done or refused: no authority is named that nothing is checked against. Reads no file.
"""

from urllib.parse import urlencode

from sqlalchemy import URL, make_url

_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERIFIED = _MODES[4:]
_SETTINGS = frozenset(
    {
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)


def split(url: str) -> tuple[URL, dict[str, str]]:
    """The URL without what it says about TLS, and that as the driver's arguments. Raises ValueError, SQLAlchemyError:
    it is no URL."""
    parsed = make_url(url)
    asked = {name: _only(name, parsed.query[name]) for name in parsed.query if name in _SETTINGS}
    if not asked:
        return parsed, {}
    mode = asked.get("sslmode")
    if mode is not None and mode not in _MODES:
        raise ValueError(f"sslmode={mode} is none of {', '.join(_MODES)}")
    if mode not in _VERIFIED and (named := sorted(asked.keys() & {"sslrootcert", "sslcrl"})):
        raise ValueError(f"{named[0]} is checked with sslmode=verify-full, or verify-ca, alone")
    return parsed.difference_update_query(asked), {"dsn": f"postgresql://?{urlencode(asked)}"}


def is_verified(url: str) -> bool:
    """Whether the server must prove by a certificate that it is the one that the URL names."""
    return make_url(url).query.get("sslmode") == _MODES[-1]


def files_of(url: str) -> list[str]:
    """The files that it names: of the authority, of our certificate and its key."""
    query = make_url(url).query
    return [str(query[name]) for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl") if name in query]


def address_of(url: str) -> str | None:
    """The server's, `host:port`; None: the URL says it otherwise, or names a socket of this machine."""
    parsed = make_url(url)
    return f"{parsed.host}:{parsed.port or 5432}" if parsed.host and "/" not in parsed.host else None


def _only(name: str, value: str | tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} stands there twice")
    return value
