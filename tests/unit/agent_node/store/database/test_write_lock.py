"""Who writes next: one at a time, in turn, and nobody who stands still or has ended keeps the others waiting."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_node.store.database.write_lock import WriteLock

SOON_S, LONG_S = 0.05, 20.0


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[WriteLock, WriteLock]]:
    """Of two processes."""
    both = WriteLock(tmp_path / "store.db"), WriteLock(tmp_path / "store.db")
    yield both
    for lock in both:
        lock.close()


def test_one_at_a_time(locks: tuple[WriteLock, WriteLock]) -> None:
    one, other = locks
    with one.held(SOON_S) as has, other.held(SOON_S) as has_too:
        assert (has, has_too) == (True, False)
    until_held(other)


def test_a_wait_ends_with_the_other_ones_turn(locks: tuple[WriteLock, WriteLock]) -> None:
    one, other = locks
    order: list[str] = []
    waits = threading.Event()

    def take() -> None:
        waits.set()
        with other.held(LONG_S) as has:
            order.append("other" if has else "nobody")

    with one.held(SOON_S):
        thread = threading.Thread(target=take)
        thread.start()
        waits.wait()
        order.append("one")
    thread.join(LONG_S)
    assert order == ["one", "other"]


def test_who_has_just_written_comes_after_who_waits(locks: tuple[WriteLock, WriteLock], tmp_path: Path) -> None:
    one, other = locks
    order: list[str] = []

    def take() -> None:
        with other.held(LONG_S) as has:
            order.append("other" if has else "nobody")

    with one.held(SOON_S):
        thread = threading.Thread(target=take)
        thread.start()
        _until_turn_is_taken(tmp_path / "store.db-turn")
    with one.held(LONG_S) as has:
        order.append("one" if has else "nobody")
    thread.join(LONG_S)
    assert order == ["other", "one"]


def test_a_lock_that_comes_too_late_is_given_up(locks: tuple[WriteLock, WriteLock]) -> None:
    one, other = locks
    with one.held(SOON_S), other.held(SOON_S) as has:
        assert not has
    until_held(one)
    until_held(other)


def test_who_has_waited_in_vain_does_not_wait_again_before_it_was_free(locks: tuple[WriteLock, WriteLock]) -> None:
    one, other = locks
    with one.held(SOON_S):
        with other.held(SOON_S) as has:
            assert not has
        begun_s = time.monotonic()
        with other.held(LONG_S) as has:
            assert not has
        assert time.monotonic() - begun_s < LONG_S / 2
    until_held(other)


@pytest.mark.parametrize("end", ["turn", "lock"])
def test_one_that_stands_still_takes_no_more_than_the_others_patience(tmp_path: Path, end: str) -> None:
    still = os.open(tmp_path / f"store.db-{end}", os.O_RDWR | os.O_CREAT)
    fcntl.flock(still, fcntl.LOCK_EX)
    lock = WriteLock(tmp_path / "store.db")
    with lock.held(SOON_S) as has:
        assert not has
    os.close(still)
    until_held(lock)
    lock.close()


def test_closed_while_it_waits_it_keeps_nothing(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    one, other = WriteLock(tmp_path / "store.db"), WriteLock(tmp_path / "store.db")
    with one.held(SOON_S), other.held(SOON_S):
        other.close()
        other.close()
    until_held(one)
    one.close()
    while set(os.listdir("/proc/self/fd")) - before:  # the waiting thread closes what it has, once it has the lock
        os.sched_yield()
    last = WriteLock(tmp_path / "store.db")
    with last.held(SOON_S) as has:
        assert has
    last.close()


def test_a_forked_child_keeps_nothing(tmp_path: Path) -> None:
    one, other = WriteLock(tmp_path / "store.db"), WriteLock(tmp_path / "store.db")
    come, go = os.pipe(), os.pipe()
    with one.held(SOON_S):
        if (pid := os.fork()) == 0:  # with all descriptors of its parent, until the hook has closed them
            os.write(come[1], b"!")
            os.read(go[0], 1)
            os._exit(0)
        os.read(come[0], 1)
    one.close()
    try:
        with other.held(LONG_S) as has:
            assert has
    finally:
        os.write(go[1], b"!")
        os.waitpid(pid, 0)
        other.close()
        for fd in (*come, *go):
            os.close(fd)


def test_what_it_makes_is_its_owners_alone(tmp_path: Path, locks: tuple[WriteLock, WriteLock]) -> None:
    assert {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {
        "store.db-lock": 0,
        "store.db-turn": 0,
    }


def until_held(lock: WriteLock) -> None:
    """A lock that came too late is given up by another thread, and taken again."""
    while True:
        with lock.held(LONG_S) as has:
            if has:
                return
        os.sched_yield()


def _until_turn_is_taken(path: Path) -> None:
    """As the system lists locks: somebody waits for the second one."""
    inode = f":{path.stat().st_ino} "
    while not any(inode in line and "FLOCK" in line for line in Path("/proc/locks").read_text().splitlines()):
        os.sched_yield()
