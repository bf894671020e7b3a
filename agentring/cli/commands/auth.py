"""`agentring auth check`: whether an auth file can be used, what it says, and what a credential may do by it.

No credential is printed, nor any part of it.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from agentring.auth.authenticator import AuthFile
from agentring.auth.identity import Identity, Role
from agentring.auth.jwks import EMPTY, JwksUnusable, KeySet
from agentring.auth.jwks_fetch import fetch_jwks_now
from agentring.auth.rules import AuthFileUnusable, Rules, load_rules
from agentring.auth.tables import peer_name
from agentring.auth.tokens import KEY_UNKNOWN, MAX_TOKEN_BYTES
from agentring.cli.auth_errors import AuthUnusable, CredentialRefused, CredentialsUnclear
from agentring.cli.options import JsonOption
from agentring.cli.terminal.printing import console, print_json, without_control
from agentring.errors import CredentialUnchecked, NotAuthenticated

app = typer.Typer(help="Check the file that --auth of routers and nodes names.", no_args_is_help=True)


@app.callback()
def auth() -> None:
    """Check the file that --auth of routers and nodes names."""


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="The auth file.")],
    token_file: Annotated[
        Path | None, typer.Option(help="A token or API key, to say what it may do; `-`: from standard input.")
    ] = None,
    san: Annotated[
        str | None, typer.Option(help="A name in a client's certificate, URI or DNS, to say what it may do.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not fetch the keys of jwks_url.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check an auth file and what it names, and say what a credential may do.

    Exit status 1 where the file cannot be used, or the credential is refused.
    """
    if token_file is not None and san is not None:
        raise CredentialsUnclear("one of --token-file and --san can be checked at a time")
    credential = _credential(token_file) if token_file is not None else None
    try:
        rules, read = load_rules(file)
    except AuthFileUnusable as error:
        raise AuthUnusable(str(error)) from None
    fetched = {} if offline else _fetched(file, rules)
    rules = rules.with_fetched(lambda url: fetched.get(url, EMPTY))
    identity = None
    if credential is not None or san is not None:
        known = AuthFile(file, loaded=(rules, read))
        identity = _identify(known, credential, None if san is None else peer_name(san))
    if as_json:
        print_json(
            {"file": str(file), **_rules_json(rules)} | ({"credential": _identity_json(identity)} if identity else {})
        )
        return
    for line in (f"{file}: it can be used", *_rules_lines(rules), *(_identity_lines(identity) if identity else ())):
        console().print(without_control(line), soft_wrap=True)


def _credential(token_file: Path) -> str:
    """Raises CredentialsUnclear."""
    # One more than is allowed, so that what is too large is seen to be.
    most = MAX_TOKEN_BYTES + 2
    try:
        if str(token_file) == "-":
            found = sys.stdin.buffer.read(most)
        else:
            with token_file.open("rb") as opened:
                found = opened.read(most)
    except OSError as error:
        raise CredentialsUnclear(f"--token-file {token_file}: {error.strerror}") from None
    if not (credential := found.decode("utf-8", "replace").strip()):
        raise CredentialsUnclear(f"--token-file {token_file}: there is nothing in it")
    return credential


def _fetched(file: Path, rules: Rules) -> dict[str, KeySet]:
    """Raises AuthUnusable."""
    found = {}
    for url in rules.urls:
        try:
            found[url] = fetch_jwks_now(url)
        except JwksUnusable as error:
            raise AuthUnusable(f"{file}: jwt.jwks_url: {url}: {error}; --offline leaves it out") from None
    return found


def _identify(auth: AuthFile, credential: str | None, name: str | None) -> Identity:
    """Raises CredentialRefused."""
    try:
        return auth.identify([f"Bearer {credential}"] if credential is not None else [], [name] if name else [])
    except CredentialUnchecked:
        raise CredentialRefused(f"{KEY_UNKNOWN}, as far as they were fetched") from None
    except NotAuthenticated as error:
        raise CredentialRefused(error.why) from None


def _rules_lines(rules: Rules) -> Iterator[str]:
    said = _rules_json(rules)
    for row in said["jwt"]:
        tenants = ", ".join(row["tenants"]) if row["tenants"] is not None else "any"
        may_say = f"tenants {tenants}, roles {_roles(row['roles'])}"
        yield f"  jwt {row['issuer']}: audience {row['audience']}, {row['keys']} keys, {may_say}"
    yield f"  api_keys: {said['api_keys']}"
    for row in said["mtls"]:
        yield f"  mtls {row['name']}: tenant {row['tenant']}, subject {row['subject']}, roles {_roles(row['roles'])}"
    if (nobody := said["anonymous"]) is not None:
        yield f"  anonymous: tenant {nobody['tenant']}, roles {_roles(nobody['roles'])}"


def _rules_json(rules: Rules) -> dict[str, Any]:
    tables = [row for rows in rules.issuers.values() for row in rows]
    nobody = rules.anonymous
    return {
        "jwt": [
            {
                "issuer": table.issuer,
                "audience": table.audience,
                "keys": len({name for name, _ in keys.names}),
                "tenants": list(table.tenants) if table.tenants is not None else None,
                "roles": _words(table.roles),
            }
            for table, keys in tables
        ],
        "api_keys": len(rules.api_keys),
        "mtls": [
            {"name": name, "tenant": each.tenant, "subject": each.subject, "roles": _words(each.roles)}
            for name, each in rules.names.items()
        ],
        "anonymous": {"tenant": nobody.tenant, "roles": _words(nobody.roles)} if nobody is not None else None,
    }


def _identity_lines(identity: Identity) -> Iterator[str]:
    said = _identity_json(identity)
    yield "the credential is accepted"
    yield f"  tenant: {said['tenant']}"
    yield f"  subject: {said['subject'] or '(nobody)'}"
    yield f"  roles: {_roles(said['roles'])}"
    yield f"  logs call it: {said['credential_id'] or '(nothing)'}"
    yield f"  ends: {said['expires_at'] or 'never'}"


def _identity_json(identity: Identity) -> dict[str, Any]:
    ends = identity.expires_at
    return {
        "tenant": identity.tenant,
        "subject": identity.subject,
        "roles": _words(identity.roles),
        "credential_id": identity.credential_id,
        "expires_at": datetime.fromtimestamp(ends, UTC).isoformat(timespec="seconds") if ends is not None else None,
    }


def _words(roles: frozenset[Role] | tuple[Role, ...]) -> list[str]:
    return [role.value for role in Role if role in roles]


def _roles(words: list[str]) -> str:
    return ", ".join(words) or "none, so it may do nothing"
