"""Agents' own settings: from where, in which types, and what is said of wrong ones."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from agent_node.agents.agent_settings import SettingsFile, SettingsWrong, read_file, read_settings, variable_of
from agentring.agent import Secret

HIDDEN = "sk-the-key-0815"


@dataclass
class Limits:
    most: int = 1


@dataclass
class Settings:
    api_key: Secret
    timeout_s: float = 20.0
    tries: int = 3
    is_loud: bool = False
    model: Literal["small", "large"] = "small"
    cities: list[str] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    proxy: str | None = None
    most: int | None = None


class Model(BaseModel):
    api_key: SecretStr
    tries: int = Field(3, ge=1)
    cities: list[str] = []
    host: str = Field("", alias="hostName")

    @model_validator(mode="after")
    def _fits(self) -> "Model":
        if self.tries == 13:
            raise ValueError(HIDDEN)
        return self


class Based(BaseSettings):
    api_key: SecretStr
    tries: int = 3


def settings(kind: type[Any] = Settings, file: str = "", **variables: str) -> Any:
    tables = read_file(None) if not file else SettingsFile(Path("s.toml"), tomllib.loads(file))
    environ = {f"MY_WEATHER_{name}": value for name, value in variables.items()}
    return read_settings("my-weather", kind, environ, tables)


def test_a_variable_has_the_agents_name_and_the_settings() -> None:
    assert variable_of("my-weather.eu", "api_key") == "MY_WEATHER_EU_API_KEY"


def test_variables_become_the_types() -> None:
    found = settings(
        API_KEY=HIDDEN,
        TIMEOUT_S="2.5",
        TRIES="7",
        IS_LOUD="yes",
        MODEL="large",
        CITIES="Oslo, Cairo",
        LIMITS='{"most": 4}',
        PROXY="localhost",
        MOST="9",
    )
    assert found == Settings(Secret(HIDDEN), 2.5, 7, True, "large", ["Oslo", "Cairo"], Limits(4), "localhost", 9)
    assert found.api_key.get_secret_value() == HIDDEN
    assert HIDDEN not in repr(found)


@pytest.mark.parametrize("kind", [Settings, Model])
def test_the_file_has_a_table_for_each_agent_and_the_environment_wins(kind: type[Any]) -> None:
    file = '[my-weather]\napi_key = "k"\ntries = 5\ncities = ["Oslo"]\n[other]\ntries = "x"\n'
    assert settings(kind, file).tries == 5
    found = settings(kind, file, TRIES="6", CITIES='["Bergen"]')
    assert (found.tries, found.cities) == (6, ["Bergen"])


def test_a_model_with_settings_of_its_own_kind_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIES", "8")
    assert settings(Based, API_KEY=HIDDEN).tries == 8
    assert settings(Based, API_KEY=HIDDEN, TRIES="9").tries == 9


def test_an_alias_is_the_models_own_affair() -> None:
    assert settings(Model, API_KEY="k", HOST="here").host == "here"


@pytest.mark.parametrize(
    ("kind", "file", "variables", "why"),
    [
        (kind, file, variables, why)
        for kind in (Settings, Model, Based)
        for file, variables, why in [
            (
                "",
                {},
                "its setting api_key is missing: set MY_WEATHER_API_KEY, "
                "or api_key under [my-weather] in the file of --agent-settings",
            ),
            (
                "[my-weather]",
                {},
                "its setting api_key is missing: set MY_WEATHER_API_KEY, or api_key under [my-weather]",
            ),
            ("", {"API_KEY": HIDDEN, "TRIES": HIDDEN}, "its setting tries is wrong, from MY_WEATHER_TRIES: "),
            (
                f"[my-weather]\napi_key = ['{HIDDEN}']",
                {},
                "its setting api_key is wrong, from api_key under [my-weather]",
            ),
            (
                "[my-weather]\napi_keys = 'x'",
                {},
                "it has no setting api_keys, which stands under [my-weather] in s.toml: is api_key meant?",
            ),
            ("my-weather = 1", {}, "its settings are wrong: my-weather in s.toml is no table: write [my-weather]"),
        ]
    ]
    + [
        (Settings, "", {"API_KEY": "k", "MODEL": HIDDEN}, "its setting model is wrong, from MY_WEATHER_MODEL: none of"),
        (
            Settings,
            "",
            {"API_KEY": "k", "IS_LOUD": "perhaps"},
            "its setting is_loud is wrong, from MY_WEATHER_IS_LOUD: not",
        ),
        (
            Settings,
            "",
            {"API_KEY": "k", "LIMITS": '{"most": "x"}'},
            "its setting limits.most is wrong, from MY_WEATHER_L",
        ),
        (
            Model,
            "",
            {"API_KEY": "k", "TRIES": "0"},
            "its setting tries is wrong, from MY_WEATHER_TRIES: greater_than_equal",
        ),
        (
            Model,
            "",
            {"API_KEY": "k", "TRIES": "13"},
            "its settings do not go together: value_error; they are read from MY",
        ),
    ],
)
def test_a_wrong_one_is_a_line_that_says_which_and_what_to_do(
    kind: type[Any], file: str, variables: dict[str, str], why: str
) -> None:
    with pytest.raises(SettingsWrong) as refused:
        settings(kind, file, **variables)
    assert str(refused.value).startswith(why)
    assert HIDDEN not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("x = \n")
    (tmp_path / "latin.toml").write_bytes(b"x = '\xe9'")
    for name, why in {
        "none.toml": "No such file",
        "bad.toml": "it is no TOML (",
        "latin.toml": "it is not UTF-8",
    }.items():
        with pytest.raises(SettingsWrong, match=f"cannot be read: --agent-settings .*{name}: .*") as refused:
            read_settings("a", Settings, {}, read_file(tmp_path / name))
        assert why in str(refused.value)
