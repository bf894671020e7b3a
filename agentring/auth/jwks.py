"""The public keys of an issuer, as a JSON Web Key Set has them.

Guarantees: a set with a secret or private key in it is refused whole; keys that are not for signatures, too short or of
an unknown kind are left out. A token chooses a key by its `kid` alone, which is never a path, a query or a URL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ALGORITHMS: Final = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_MIN_RSA_BITS: Final = 2048
_MAX_KEYS: Final = 1_000
_MAX_KID_CHARS: Final = 256


class JwksUnusable(Exception):
    """It is no set of public keys."""


KeyName = tuple[str, str]
"""A key's id, and the algorithm."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an issuer."""

    keys: Mapping[KeyName, jwt.PyJWK] = field(repr=False)
    names: Mapping[KeyName, str]
    """What tells each key from others with its name: the SHA-256 of its DER."""


EMPTY: Final = KeySet({}, {})


def read_jwks(found: object) -> KeySet:
    """found: the set as JSON has it. Raises JwksUnusable."""
    rows = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or len(rows) > _MAX_KEYS:
        raise JwksUnusable(f"`keys` is a list of up to {_MAX_KEYS} keys")
    keys: dict[KeyName, jwt.PyJWK] = {}
    names: dict[KeyName, str] = {}
    for position, row in enumerate(rows):
        if row.get("kty") == "oct" or "d" in row or "k" in row:
            raise JwksUnusable(f"keys.{position}: a secret or private key has no place here")
        for name, key in _read_key(row):
            if name in keys:
                raise JwksUnusable(f"keys.{position}: its kid is there twice")
            keys[name] = key
            names[name] = sha256(key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    if not keys:
        raise JwksUnusable("none of its keys can check a signature; each needs kid, and RSA 2048 bits at least")
    return KeySet(keys, names)


def _read_key(row: dict[str, Any]) -> Iterator[tuple[KeyName, jwt.PyJWK]]:
    kid, kty, curve = row.get("kid"), row.get("kty"), row.get("crv", "")
    operations = row.get("key_ops", ["verify"])
    if not isinstance(kid, str) or not 0 < len(kid) <= _MAX_KID_CHARS or row.get("use", "sig") != "sig":
        return
    if not isinstance(operations, list) or "verify" not in operations:
        return
    if not isinstance(kty, str) or not isinstance(curve, str):
        return
    for algorithm in _ALGORITHMS.get((kty, curve), ()):
        if row.get("alg", algorithm) != algorithm:
            continue
        try:
            key = jwt.PyJWK.from_dict(row, algorithm)
        except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
            return
        if kty == "RSA" and key.key.key_size < _MIN_RSA_BITS:
            return
        yield (kid, algorithm), key
