"""Releases of etcd that let users go round its access control are refused."""

from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from agentring.cluster.etcd.access_control import EtcdTooOld, check_release, is_fit
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdPermissionDenied, EtcdUnavailable


@pytest.mark.parametrize(
    ("version", "fit"),
    [
        *((version, True) for version in ("3.5.33", "3.5.40", "3.6.14", "3.7.1", "3.8.0", "4.0.0", "3.5.33+vendor.1")),
        *((version, False) for version in ("3.5.32", "3.5.33-rc.0", "3.6.13", "3.7.0", "3.7.1-alpha.0", "3.4.99")),
        *((version, False) for version in ("2.3.8", "", "nightly", "3.5")),
    ],
)
def test_a_release_is_fit_from_its_mend_on(version: str, fit: bool) -> None:
    assert is_fit(version) is fit


class Answering(EtcdClient):
    """One that has the answers already."""

    def __init__(self, auth: Any, users: Any = None, versions: list[Any] | None = None) -> None:
        super().__init__(["127.0.0.1:1"])
        self._answers = [auth, users]
        self._versions = versions or []

    async def call(self, method: Any, request: Any) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def call_each(self, method: Any, request: Any) -> list[Any]:
        return [SimpleNamespace(version=each) if isinstance(each, str) else each for each in self._versions]


ON, OFF = SimpleNamespace(enabled=True), SimpleNamespace(enabled=False)
NO_ANSWER = EtcdUnavailable(outcome_unknown=True)


async def test_one_old_member_is_enough_to_be_refused() -> None:
    assert await check_release(Answering(ON, versions=["3.5.33", NO_ANSWER, "3.6.20"]))
    for versions in (["3.5.33", "3.5.32"], [EtcdPermissionDenied()], ["3.6.14", EtcdPermissionDenied()]):
        with pytest.raises(EtcdTooOld, match=r"run etcd 3\.5\.33, 3\.6\.14 or 3\.7\.1, or later"):
            await check_release(Answering(ON, versions=versions))
    with pytest.raises(EtcdUnavailable):
        await check_release(Answering(ON, versions=[NO_ANSWER]))


async def test_where_it_checks_nobody_every_release_will_do() -> None:
    assert not await check_release(Answering(OFF, versions=["3.5.1"]))
    unknown = EtcdError(code=StatusCode.UNIMPLEMENTED)
    assert not await check_release(Answering(unknown, users=SimpleNamespace(users=[]), versions=["3.4.30"]))
    for auth, users in ((unknown, EtcdPermissionDenied()), (EtcdPermissionDenied(), None)):
        with pytest.raises(EtcdTooOld, match=r"etcd 3\.4\.30 lets users go round"):
            await check_release(Answering(auth, users, ["3.4.30"]))
    with pytest.raises(EtcdUnavailable):
        await check_release(Answering(NO_ANSWER))
