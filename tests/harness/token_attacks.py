"""Tokens that nobody may be believed by: the known attacks on JWT, and good tokens with something changed."""

import hmac
import json
import random
import string
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.issuer import PRIVATE, PUBLIC, claims, encoded, signed, token

_PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
_DER = PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_SOON = int(time.time()) + 600
_ALPHABET = string.ascii_letters + string.digits + "-_.=+/ \n\x00é"


def _mac(secret: bytes, **header: Any) -> str:
    """Signed by HMAC with what everybody knows."""
    said = encoded({"alg": "HS256", "kid": "k1", **header}) + b"." + encoded(claims())
    return (said + b"." + encoded(hmac.digest(secret, said, "sha256"))).decode()


def _unsigned(algorithm: str, signature: str = "") -> str:
    return (encoded({"alg": algorithm, "kid": "k1"}) + b"." + encoded(claims())).decode() + f".{signature}"


def _claim_twice(name: str, second: str) -> str:
    """With a claim twice; second: its JSON."""
    first = json.dumps(claims()[name])
    left = json.dumps({key: value for key, value in claims().items() if key != name})[1:]
    return signed({}, f'{{"{name}": {first}, "{name}": {second}, {left}'.encode())


def _with(name: str, value: str) -> str:
    """With a claim as JSON text has it."""
    return signed({}, json.dumps(claims(**{name: "*"})).replace('"*"', value).encode())


ATTACKS: dict[str, Callable[[], str]] = {
    **{f"alg {each}": partial(_unsigned, each) for each in ("none", "None", "NONE", "nOnE", "")},
    "none with a signature": lambda: _unsigned("none", token().split(".")[2]),
    "no signature": lambda: _unsigned("ES256"),
    "a signature of zeros": lambda: _unsigned("ES256", encoded(bytes(64)).decode()),
    "a signature of the order": lambda: _unsigned(
        "ES256", encoded(bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2).decode()
    ),
    "the PEM as a secret": lambda: _mac(_PEM),
    "the DER as a secret": lambda: _mac(_DER),
    "the JWK as a secret": lambda: _mac(json.dumps(PUBLIC).encode()),
    "an empty secret": lambda: _mac(b""),
    "alg in other case": lambda: signed({"alg": "es256"}),
    "alg of another kind": lambda: token(key=rsa.generate_private_key(65_537, 2048), algorithm="RS256"),
    "alg as a list": lambda: signed({"alg": ["ES256"]}),
    "another key": lambda: token(key=ec.generate_private_key(ec.SECP256R1())),
    "another curve": lambda: token(key=ec.generate_private_key(ec.SECP384R1()), algorithm="ES384"),
    **{
        f"kid {kid!r}": partial(_mac, b"", kid=kid)
        for kid in (
            "../../dev/null",
            "/dev/null",
            "k1' UNION SELECT '",
            "k1\x00",
            "http://evil.test/k",
            "k1|id",
            "",
            "K1",
        )
    },
    **{f"kid {kid!r}": partial(signed, {"kid": kid}) for kid in (None, 1, ["k1"], {"k1": 1}, "k1 ", True)},
    "jku": lambda: signed({"jku": "https://evil.test/jwks"}),
    "x5u": lambda: signed({"x5u": "https://evil.test/cert"}),
    "x5c": lambda: signed({"x5c": [_DER.hex()]}),
    "jwk": lambda: signed({"jwk": PUBLIC}),
    "crit": lambda: signed({"crit": ["exp"], "exp": _SOON}),
    "crit b64": lambda: signed({"crit": ["b64"], "b64": False}),
    "b64": lambda: signed({"b64": True}),
    "zip": lambda: signed({"zip": "DEF"}),
    "nested": lambda: signed({"cty": "JWT"}, encoded(token().encode())),
    "a token in a token": lambda: signed({}, json.dumps(token()).encode()),
    "encrypted": lambda: ".".join([token(), "a", "b"]),
    **{f"typ {typ!r}": partial(signed, {"typ": typ}) for typ in ("dpop+jwt", "logout+jwt", "JWE", "", 1, None)},
    "a header twice": lambda: signed(b'{"alg": "none", "alg": "ES256", "kid": "k1"}'),
    "no header": lambda: signed(b""),
    "a list as header": lambda: signed(b'["ES256", "k1"]'),
    "no JSON": lambda: signed({}, b"\xff\xfe"),
    "a list as claims": lambda: signed({}, b"[1]"),
    "deep": lambda: signed({}, b'{"a":' + b"[" * 8_000 + b"]" * 100),
    "many numbers": partial(_with, "x", "1" * 8_000),
    "huge": lambda: token(much="x" * 20_000),
    "huge head": lambda: token({"kid": "k" * 20_000}),
    **{
        f"{name} twice": partial(_claim_twice, name, other)
        for name, other in [("tenant", '"beta"'), ("sub", '"bob"'), ("aud", '"ring"'), ("exp", str(_SOON))]
    },
    **{
        f"exp {value}": partial(_with, "exp", value)
        for value in (
            f'"{_SOON}"',
            "NaN",
            "Infinity",
            "1e400",
            "1e300",
            "9" * 5_000,
            "-1",
            "0",
            "null",
            "true",
            "[]",
            "{}",
        )
    },
    "expired": lambda: token(exp=int(time.time()) - 60),
    "without exp": lambda: token(exp=None),
    "nbf later": lambda: token(nbf=int(time.time()) + 60),
    "nbf as text": partial(_with, "nbf", '"1"'),
    **{f"iat {value}": partial(_with, "iat", value) for value in ("NaN", '"1"', "1e400", "true")},
    "iat later": lambda: token(iat=int(time.time()) + 60),
    **{
        f"aud {value}": partial(_with, "aud", value)
        for value in (
            '"other"',
            "[]",
            '["other"]',
            '["ring", 1]',
            '[["ring"]]',
            "null",
            "1",
            '{"ring": 1}',
            '"ring "',
            '""',
        )
    },
    "without aud": lambda: token(aud=None),
    **{
        f"iss {value}": partial(_with, "iss", value)
        for value in ('"https://evil.test"', '["https://issuer.test"]', '"https://issuer.test/"', "null", "{}", "1")
    },
    **{
        f"tenant {value}": partial(_with, "tenant", value)
        for value in ('"beta"', '""', '["acme"]', "null", '"acme\\u0000"', '"../acme"', '"ACME"', '"acme "', "1")
    },
    **{
        f"sub {value}": partial(_with, "sub", value)
        for value in ('""', "null", '"a\\nb"', '["ann"]', "1", json.dumps("x" * 300))
    },
    "without sub": lambda: token(sub=None),
    "roles as a number": lambda: token(roles=1),
    "jti as a number": lambda: token(jti=1),
}
"""Each makes one token."""


def mutated(count: int, seed: int) -> Iterator[str]:
    """Tokens that the issuer did not sign, each near one that it did; the same ones for the same seed."""
    chance = random.Random(seed)
    good = [token(sub=f"s{number}", roles=["user"]) for number in range(8)]
    made = 0
    while made < count:
        changed = _MUTATIONS[made % len(_MUTATIONS)](chance.choice(good), chance)
        if changed not in good:
            made += 1
            yield changed


def _other_character(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(_ALPHABET) + text[at + 1 :]


def _more_or_less(text: str, chance: random.Random) -> str:
    at, length = chance.randrange(len(text)), chance.choice((0, 1, 2, 5))
    return text[:at] + chance.choice(_ALPHABET) * chance.choice((0, 1, 3)) + text[at + length :]


def _parts_mixed(text: str, chance: random.Random) -> str:
    """A stranger's, another order, more or fewer."""
    parts = text.split(".") + token(sub="other", key=_STRANGER).split(".")
    return ".".join(chance.choices(parts, k=chance.choice((1, 2, 3, 3, 3, 4, 5))))


def _other_claim(text: str, chance: random.Random) -> str:
    """Under the old signature."""
    head, body, signature = text.split(".")
    said: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=="))
    said[chance.choice(list(said))] = chance.choice(
        ["operator", "beta", "", None, 1e300, ["user"], {}, _SOON + 1, True]
    )
    return f"{head}.{encoded(said).decode()}.{signature}"


def _other_header(text: str, chance: random.Random) -> str:
    _, body, signature = text.split(".")
    head = {"alg": "ES256", "kid": "k1", "typ": "JWT"}
    head[chance.choice([*head, "jku", "x5u", "b64", "crit"])] = chance.choice(["none", "HS256", "", "k2", "RS256"])
    return f"{encoded(head).decode()}.{body}.{signature}"


def _other_bit(text: str, chance: random.Random) -> str:
    """Of the signature."""
    head, body, signature = text.split(".")
    content = bytearray(urlsafe_b64decode(signature + "=="))
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return f"{head}.{body}.{encoded(bytes(content)).decode()}"


def _other_signer(text: str, chance: random.Random) -> str:
    said = text.rsplit(".", 1)[0].encode()
    signer = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return f"{said.decode()}.{encoded(signer.sign(said, _STRANGER)).decode()}"


_STRANGER = ec.generate_private_key(ec.SECP256R1())
_MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    _other_character,
    _more_or_less,
    _parts_mixed,
    _other_claim,
    _other_header,
    _other_bit,
    _other_signer,
)
