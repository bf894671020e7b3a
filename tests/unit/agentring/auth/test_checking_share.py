"""Unknown tokens have a fifth of the time, and those of one address half of that."""

from agentring.auth.checking_share import BURST_S, MOST_ORIGINS, ORIGIN_SHARE, SHARE, CheckingShare

COST_S = 0.001


class Loop:
    """Its clock moves when something is checked, or waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.share = CheckingShare(lambda: self.now_s)

    def check(self, origin: str) -> bool:
        if (began_s := self.share.begin(origin)) is None:
            return False
        self.now_s += COST_S
        self.share.end(origin, began_s)
        return True


def checked(loop: Loop, origins: list[str], seconds: float) -> dict[str, int]:
    """How many of each were checked where all of them try all the time, another one first each time."""
    counts = dict.fromkeys(origins, 0)
    until_s, turn = loop.now_s + seconds, 0
    while loop.now_s < until_s:
        for position in range(len(origins)):
            origin = origins[(position + turn) % len(origins)]
            counts[origin] += loop.check(origin)
        turn += 1
        loop.now_s += COST_S / 10
    return counts


def test_all_of_them_have_a_fifth() -> None:
    found = checked(Loop(), ["a", "b", "c", ""], 3)
    assert SHARE * 3 <= sum(found.values()) * COST_S <= SHARE * 3 + BURST_S + COST_S


def test_one_address_leaves_half_to_the_others() -> None:
    loop = Loop()
    found = checked(loop, ["flood"], 10)
    assert ORIGIN_SHARE * 10 <= found["flood"] * COST_S <= ORIGIN_SHARE * 10 + BURST_S
    assert loop.check("other")


def test_addresses_are_forgotten() -> None:
    loop = Loop()
    for number in range(MOST_ORIGINS * 2):
        loop.now_s += 1
        assert loop.check(str(number))
    assert len(loop.share._origins) == MOST_ORIGINS
