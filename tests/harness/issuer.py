"""An auth file, the issuer that it believes, and what the issuer signs."""

import json
import os
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from agentring.auth.authenticator import AuthFile
from agentring.auth.identity import Identity

ISSUER = "https://issuer.test"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = {**jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True), "kid": "k1"}
KEY = "ar_k1_" + "ab" * 32
AUTH = f"""
[[jwt]]
issuer = "{ISSUER}"
audience = "ring"
jwks_file = "jwks.json"
algorithms = ["ES256"]
tenant_claim = "tenant"
roles_claim = "roles"
tenants = ["acme"]
[[api_keys]]
file = "keys.toml"
[[mtls]]
san = "spiffe://acme/one"
tenant = "acme"
subject = "one"
roles = ["admin"]
"""
URL_AUTH = AUTH.replace('jwks_file = "jwks.json"', 'jwks_url = "https://issuer.test/keys"')
KEYS = f"""
[[keys]]
id = "k1"
sha256 = "{sha256(KEY.encode()).hexdigest()}"
tenant = "acme"
subject = "robot"
roles = ["user"]
"""


def write_auth(path: Path, auth: str = AUTH) -> Path:
    """path: a directory; the auth file's path."""
    (path / "jwks.json").write_text(json.dumps({"keys": [PUBLIC]}))
    (path / "keys.toml").write_text(KEYS)
    (path / "auth.toml").write_text(auth)
    return path / "auth.toml"


def change_auth(path: Path, auth: str) -> None:
    """Seen as a change, however soon it comes."""
    (path / "auth.toml").write_text(auth)
    os.utime(path / "auth.toml", ns=(1, 1))


def claims(**more: Any) -> dict[str, Any]:
    """Of a good token, with others in place of them; None: without."""
    said = {"iss": ISSUER, "aud": "ring", "exp": int(time.time()) + 600, "sub": "ann", "tenant": "acme", **more}
    return {name: value for name, value in said.items() if value is not None}


def token(headers: dict[str, Any] | None = None, key: Any = PRIVATE, algorithm: str = "ES256", **more: Any) -> str:
    """As the library writes it."""
    return jwt.encode(claims(**more), key, algorithm, headers={"kid": "k1", **(headers or {})})


def encoded(content: bytes | dict[str, Any]) -> bytes:
    """A part of a token."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return urlsafe_b64encode(text).rstrip(b"=")


def signed(header: bytes | dict[str, Any], body: bytes | dict[str, Any] | None = None) -> str:
    """A token with the issuer's signature and with what the library would not write. header: fields besides the good
    ones, or its text; body: the claims, or their text; None: good ones."""
    head = header if isinstance(header, bytes) else {"alg": "ES256", "kid": "k1", **header}
    said = encoded(head) + b"." + encoded(claims() if body is None else body)
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(said, PRIVATE)
    return (said + b"." + encoded(signature)).decode()


def ask(auth: AuthFile, credential: str) -> Identity:
    """Who calls with it."""
    return auth.identify([f"Bearer {credential}"], [])
