"""When keys are fetched, how often, and how long they count; on a clock of the test's own."""

import asyncio
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from agentring.auth.jwks import EMPTY, JwksUnusable, KeySet, read_jwks
from agentring.auth.jwks_refresh import EMPTY_EVERY_S, EVERY_S, STALE_S, UNKNOWN_EVERY_S, FetchedKeys

URL = "https://issuer.test/keys"


def keys(kid: str) -> KeySet:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return read_jwks({"keys": [{**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(public)), "kid": kid}]})


class Issuer:
    """Serves what it has, and counts."""

    def __init__(self) -> None:
        self.keys: KeySet | None = keys("k1")
        self.asked = 0
        self.now_s = 1_000.0
        self.fetched = FetchedKeys(self.fetch, lambda: self.now_s)
        self.fetched.keep([URL])

    async def fetch(self, url: str) -> KeySet:
        self.asked += 1
        await asyncio.sleep(0)
        if self.keys is None:
            raise JwksUnusable("down")
        return self.keys

    async def tick(self) -> int:
        """How many were fetched now."""
        before = self.asked
        for url in list(self.fetched.due()):
            await self.fetched.fetch(url)
        return self.asked - before

    async def ticks_until_fetched(self, most_s: float) -> float:
        """After how many seconds."""
        began_s = self.now_s
        while not await self.tick():
            self.now_s += 1
            assert self.now_s - began_s <= most_s
        return self.now_s - began_s


async def test_keys_are_fetched_at_once_and_every_ten_minutes() -> None:
    issuer = Issuer()
    assert issuer.fetched.ask(URL), "they are on their way"
    assert await issuer.tick() == 1
    assert issuer.fetched.get(URL) is issuer.keys
    assert await issuer.ticks_until_fetched(EVERY_S) == EVERY_S


async def test_unknown_key_ids_fetch_once_a_minute_however_many_there_are() -> None:
    issuer = Issuer()
    await issuer.tick()
    for second in range(600):
        for _ in range(3):
            assert issuer.fetched.ask(URL) is (second > 0 and second % UNKNOWN_EVERY_S == 0)
        await issuer.tick()
        issuer.now_s += 1
    assert issuer.asked == 10


async def test_one_fetch_at_a_time() -> None:
    issuer = Issuer()
    assert list(issuer.fetched.due()) == [URL]
    issuer.now_s += 10_000
    assert list(issuer.fetched.due()) == []
    assert issuer.fetched.ask(URL)
    assert await issuer.fetched.fetch(URL)


async def test_keys_that_cannot_be_fetched_count_for_a_day_and_no_longer() -> None:
    issuer = Issuer()
    await issuer.tick()
    known, issuer.keys = issuer.keys, None
    issuer.now_s += EVERY_S
    assert await issuer.tick() == 1
    assert (issuer.fetched.failing, issuer.fetched.failures) == (1, 1)
    issuer.now_s += 1
    assert await issuer.ticks_until_fetched(UNKNOWN_EVERY_S) == UNKNOWN_EVERY_S - 1
    issuer.now_s += STALE_S - UNKNOWN_EVERY_S - 1
    assert not issuer.fetched.drop_stale()
    assert issuer.fetched.get(URL) is known
    issuer.now_s += 1
    assert issuer.fetched.drop_stale()
    assert issuer.fetched.get(URL) is EMPTY
    assert issuer.fetched.ask(URL), "nobody knows whether it is valid"
    issuer.keys = known
    issuer.now_s += EMPTY_EVERY_S
    assert await issuer.tick() == 1
    assert issuer.fetched.failing == 0


async def test_who_asks_for_keys_that_never_came_has_them_fetched_no_more_often() -> None:
    issuer = Issuer()
    issuer.keys = None
    for _ in range(100):
        assert issuer.fetched.ask(URL)
        await issuer.tick()
        issuer.now_s += 1
    assert issuer.asked == 10


async def test_a_source_that_is_not_named_any_more_has_no_keys() -> None:
    issuer = Issuer()
    due = list(issuer.fetched.due())
    issuer.fetched.keep([])
    assert not await issuer.fetched.fetch(due[0])
    assert issuer.fetched.get(URL) is EMPTY
    assert not issuer.fetched.ask(URL)
