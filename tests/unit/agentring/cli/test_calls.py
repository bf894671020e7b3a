"""What a command lists where no tenant is named: of all, or of the caller's own."""

from typing import Any

import grpc
import pytest

from agentring.cli.calls import of_all_or_own
from agentring.errors import AgentringError, RoleMissing, TenantForeign
from agentring.rpc.status import STATUS_DETAILS, to_status


class Refusal(grpc.RpcError):
    def __init__(self, error: AgentringError) -> None:
        super().__init__()
        self._error = error

    def code(self) -> grpc.StatusCode:
        return self._error.code

    def details(self) -> str:
        return self._error.sentence

    def trailing_metadata(self) -> Any:
        return ((STATUS_DETAILS, to_status(self._error).SerializeToString()),)


class Router:
    def __init__(self, refusal: AgentringError | None = None) -> None:
        self._refusal = refusal
        self.asked: list[bool] = []

    def ask(self, of_all: bool) -> str:
        self.asked.append(of_all)
        if of_all and self._refusal is not None:
            raise Refusal(self._refusal)
        return "all" if of_all else "own"


def test_who_may_not_see_all_tenants_sees_his_own() -> None:
    assert of_all_or_own("", Router().ask) == "all"
    assert of_all_or_own("", Router(TenantForeign()).ask) == "own"


def test_a_tenant_that_is_named_is_asked_for_alone() -> None:
    router = Router()
    of_all_or_own("acme", router.ask)
    assert router.asked == [False]


def test_another_refusal_is_the_answer() -> None:
    router = Router(RoleMissing("/x", "admin"))
    with pytest.raises(Refusal):
        of_all_or_own("", router.ask)
    assert router.asked == [True]
