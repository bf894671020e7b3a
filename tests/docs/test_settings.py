"""docs/settings.md has every setting, as the settings classes have it now."""

import sys

import pytest

from agent_node.settings import NodeSettings
from docs import settings_page
from router.settings import RouterSettings


def check(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["scripts/gen_settings", "--check"])
    return settings_page.main()


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(monkeypatch) == 0


def test_a_page_that_is_out_of_date_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = NodeSettings.model_fields["weight"].default + 1
    monkeypatch.setattr(NodeSettings.model_fields["weight"], "default", changed)
    assert check(monkeypatch) == 1
    assert "run scripts/gen_settings" in capsys.readouterr().err


def test_every_setting_has_a_row_with_a_type_and_a_meaning() -> None:
    rows = [line.strip("| ").split(" | ") for line in settings_page.page().splitlines() if line.startswith("| `")]
    by_name = {row[0].strip("`"): row for row in rows}
    kinds = ("host:port", "integer", "list", "number", "path", "text", "true or false")
    for name, field in (NodeSettings.model_fields | RouterSettings.model_fields).items():
        assert by_name[name][1].startswith(kinds), name
        assert len(by_name[name]) == 4, name
        assert field.description, name
