"""Where a process's settings come from, and what a wrong one leads to."""

import os
import re
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from agent_node.settings import NodeSettings
from agentring.settings import EXIT_BAD_SETTINGS, CommaSeparated, ProcessSettings, load
from router.settings import RouterSettings

PROGRAM = "prog"
NO_ENDPOINT = "not host:port, http://host:port or https://host:port"
NODE_FLAGS = ("--node-id=n1", "--data-dir=/nowhere")


class Settings(ProcessSettings):
    """What a process may have."""

    depth: int = Field(1, ge=1, description="how deep")
    tag: CommaSeparated = Field((), description="words")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("AGENTRING_"):
            monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text('listen = "127.0.0.1:3"\ndepth = 3\ntag = ["x", "y"]\netcd = ["http://file:1", "http://file:2"]\n')
    return file


def refused(capsys: pytest.CaptureFixture[str], settings_class: type[ProcessSettings], *flags: str) -> list[str]:
    """The lines that the process ends with."""
    with pytest.raises(SystemExit) as ended:
        load(settings_class, flags, program=PROGRAM)
    assert ended.value.code == EXIT_BAD_SETTINGS
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_without_anything_said_the_defaults_hold() -> None:
    settings = load(Settings, [], program=PROGRAM)
    assert (settings.listen, settings.depth, settings.tag) == ("127.0.0.1:0", 1, ())
    assert settings.etcd == ("http://127.0.0.1:2379",)
    assert settings.etcd_tls() is None


def test_a_flag_outweighs_a_variable_and_a_variable_the_file(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ("--config", str(toml))
    settings = load(Settings, config, program=PROGRAM)
    assert (settings.listen, settings.depth, settings.etcd) == ("127.0.0.1:3", 3, ("http://file:1", "http://file:2"))
    monkeypatch.setenv("AGENTRING_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("AGENTRING_ETCD", "http://variable:1")
    settings = load(Settings, config, program=PROGRAM)
    assert (settings.listen, settings.depth, settings.etcd) == ("127.0.0.1:2", 3, ("http://variable:1",))
    settings = load(Settings, [*config, "--listen=127.0.0.1:1"], program=PROGRAM)
    assert (settings.listen, settings.depth, settings.etcd) == ("127.0.0.1:1", 3, ("http://variable:1",))


def test_a_wrong_variable_does_not_matter_where_a_flag_outweighs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRING_DEPTH", "deep")
    assert load(Settings, ["--depth=2"], program=PROGRAM).depth == 2


@pytest.mark.parametrize(
    "flags",
    [
        ("--tag=a,b,c",),
        ("--tag", "a", "--tag", "b", "--tag", "c"),
        ("--tag=a,b", "--tag=c"),
        ("--tag=a,,b,", "--tag=c"),
    ],
)
def test_a_list_is_comma_separated_or_the_flag_repeated(flags: tuple[str, ...]) -> None:
    assert load(Settings, flags, program=PROGRAM).tag == ("a", "b", "c")


def test_a_list_in_a_variable_is_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRING_TAG", "a,b")
    assert load(Settings, [], program=PROGRAM).tag == ("a", "b")


def test_a_list_in_the_file_is_a_list_or_comma_separated(toml: Path) -> None:
    assert load(Settings, [f"--config={toml}"], program=PROGRAM).tag == ("x", "y")
    toml.write_text('tag = "x,y"\n')
    assert load(Settings, [f"--config={toml}"], program=PROGRAM).tag == ("x", "y")


def test_a_word_that_looks_like_json_is_a_word() -> None:
    assert load(Settings, ["--tag=[1]", "--tag={}", "--cluster=7"], program=PROGRAM).tag == ("[1]", "{}")


def test_variables_without_a_setting_are_somebody_elses_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENTRING_UNHEARD_OF", "x")
    assert load(Settings, [], program=PROGRAM).depth == 1
    assert capsys.readouterr() == ("", f"{PROGRAM}: AGENTRING_UNHEARD_OF is no setting, and ignored\n")


def test_a_mistyped_variable_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AGENTRING_LITSEN", "127.0.0.1:1")
    monkeypatch.setenv("AGENTRING_WEIGHT", "2")  # a neighbour's
    assert refused(capsys, Settings) == [f"{PROGRAM}: AGENTRING_LITSEN is no setting: is AGENTRING_LISTEN meant?"]


def test_settings_do_not_change() -> None:
    settings = load(Settings, [], program=PROGRAM)
    with pytest.raises(ValidationError):
        settings.depth = 2


@pytest.mark.parametrize(
    ("flag", "received"),
    [
        ("--depth=0", "--depth: Input should be greater than or equal to 1"),
        ("--depth=x", "--depth: Input should be a valid integer, unable to parse string as an integer"),
        ("--depth", "error parsing CLI: argument --depth: expected one argument"),
        ("--unheard-of=1", "error parsing CLI: unrecognized arguments: --unheard-of=1"),
        ("--dep=1", "error parsing CLI: unrecognized arguments: --dep=1"),
        ("word", "error parsing CLI: unrecognized arguments: word"),
        ("--listen=here", "--listen: 'here' is not host:port: the port is missing"),
        ("--listen=127.0.0.1:99999", "--listen: '127.0.0.1:99999' is not host:port: the largest port is 65535"),
        ("--listen=:1", "--listen: ':1' is not host:port"),
        ("--etcd=x:65536", f"--etcd: 'x:65536' is {NO_ENDPOINT}: the largest port is 65535"),
        ("--etcd=ftp://x:1", f"--etcd: 'ftp://x:1' is {NO_ENDPOINT}: leave the ftp:// out"),
        ("--etcd=x:0", f"--etcd: 'x:0' is {NO_ENDPOINT}: nobody listens on port 0"),
        ("--etcd=http://x", f"--etcd: 'http://x' is {NO_ENDPOINT}: the port is missing"),
        ("--etcd=", "--etcd: Tuple should have at least 1 item after validation, not 0"),
        ("--etcd-timeout-s=0", "--etcd-timeout-s: Input should be greater than 0"),
        ("--etcd-timeout-s=nan", "--etcd-timeout-s: Input should be less than or equal to 60"),
        ("--etcd=https://x:1", "--etcd https://x:1 does not go without --etcd-ca"),
        ("--etcd-ca=/ca.pem", "--etcd http://127.0.0.1:2379 does not go with --etcd-ca"),
        ("--etcd-key=/key.pem", "--etcd-cert and --etcd-key are given together or not at all"),
        ("--config", "argument --config: expected one argument"),
        ("--config=/nowhere/x.toml", "--config /nowhere/x.toml: no such file"),
    ],
)
def test_a_wrong_flag_ends_the_process_with_one_line_that_names_it(
    capsys: pytest.CaptureFixture[str], flag: str, received: str
) -> None:
    assert refused(capsys, Settings, flag) == [f"{PROGRAM}: {received}"]


@pytest.mark.parametrize(("flag", "name"), [("--cluster=a/b", "--cluster"), ("--log-level=loud", "--log-level")])
def test_a_flag_of_the_wrong_form_is_named(capsys: pytest.CaptureFixture[str], flag: str, name: str) -> None:
    (line,) = refused(capsys, Settings, flag)
    assert line.startswith(f"{PROGRAM}: {name}: String should match pattern")


def test_a_certificate_without_an_authority_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the process would speak plaintext where TLS was meant."""
    assert refused(capsys, Settings, "--etcd-cert=/cert.pem", "--etcd-key=/key.pem") == [
        f"{PROGRAM}: --etcd-cert needs --etcd-ca, which turns TLS on"
    ]


def test_each_wrong_setting_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    received = refused(capsys, Settings, "--depth=0", "--etcd-timeout-s=0")
    assert [line.split()[1] for line in received] == ["--etcd-timeout-s:", "--depth:"]


def test_a_wrong_variable_is_named_as_the_flag_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTRING_DEPTH", "0")
    assert refused(capsys, Settings) == [f"{PROGRAM}: --depth: Input should be greater than or equal to 1"]


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"depth = 0", "--depth: Input should be greater than or equal to 1"),
        (b"depht = 1", "--depht: Extra inputs are not permitted"),
        (b"[depth]\nx = 1", "--depth: Input should be a valid integer"),
        (b"tag = 5", "--tag: Input should be a valid tuple"),
    ],
)
def test_a_wrong_line_in_the_file_is_named_as_the_flag_is(
    capsys: pytest.CaptureFixture[str], toml: Path, content: bytes, received: str
) -> None:
    toml.write_bytes(content)
    assert refused(capsys, Settings, f"--config={toml}") == [f"{PROGRAM}: {received}"]


@pytest.mark.parametrize("content", [b"depth = ", b"\xff\xfe", b"depth = 1\ndepth = 2"])
def test_a_file_that_is_no_toml_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], toml: Path, content: bytes
) -> None:
    toml.write_bytes(content)
    (line,) = refused(capsys, Settings, f"--config={toml}")
    assert line.startswith(f"{PROGRAM}: --config {toml}: ")


def test_a_directory_is_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert refused(capsys, Settings, f"--config={tmp_path}") == [f"{PROGRAM}: --config {tmp_path}: no such file"]


def test_a_setting_that_is_needed_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, NodeSettings) == [
        f"{PROGRAM}: --node-id: Field required",
        f"{PROGRAM}: --data-dir: Field required",
    ]


@pytest.mark.parametrize(
    ("flag", "received"),
    [
        ("--label=zone", "--label 'zone' is not key=value"),
        ("--agent=./echo", "--agent './echo' is neither name=package.module:attribute nor package.module"),
        ("--require=echo:zone", "--require 'echo:zone' is not agent:key=value"),
        ("--require=zone=eu", "--require 'zone=eu' is not agent:key=value"),
        ("--lease-ttl-s=1", "--lease-ttl-s: Input should be greater than or equal to 2"),
        ("--weight=0", "--weight: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_flag_of_a_nodes_is_named(capsys: pytest.CaptureFixture[str], flag: str, received: str) -> None:
    assert refused(capsys, NodeSettings, *NODE_FLAGS, flag) == [f"{PROGRAM}: {received}"]


@pytest.mark.parametrize("name", ["a/b", "", "ü", "x" * 65, "a\n"])
def test_a_nodes_name_can_stand_in_a_key_and_in_a_header(capsys: pytest.CaptureFixture[str], name: str) -> None:
    (line,) = refused(capsys, NodeSettings, f"--node-id={name}", "--data-dir=/nowhere")
    assert line.startswith(f"{PROGRAM}: --node-id: String should match pattern")


@pytest.mark.parametrize("address", ["é:1", "a:1\n", "a b:1", "a:x", "a:1 b:2", "a:\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_nodes_address_can_stand_in_a_header(capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert refused(capsys, NodeSettings, *NODE_FLAGS, f"--advertise={address}") == [
        f"{PROGRAM}: --advertise: {address!r} is not host:port"
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:65535", "[::1]:80", "some-host.example:7700"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    insecure = ("--insecure-plaintext", "--insecure-anonymous")
    assert load(Settings, [f"--listen={address}", "--etcd=a:1", *insecure], program=PROGRAM).listen == address


def test_labels_are_read_by_key() -> None:
    settings = load(NodeSettings, [*NODE_FLAGS, "--label=zone=a,rack=b=c", "--label=empty="], program=PROGRAM)
    assert settings.labels == {"zone": "a", "rack": "b=c", "empty": ""}


@pytest.mark.parametrize("settings_class", [RouterSettings, NodeSettings])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_flag(
    capsys: pytest.CaptureFixture[str], settings_class: type[ProcessSettings], flag: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(settings_class, [flag], program=PROGRAM)
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in settings_class.model_fields:
        assert re.search(rf"--{name.replace('_', '-')}(?=\s)", out)


def test_the_files_of_tls_are_read(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_bytes(name.encode())
    flags = [f"--etcd-{name}={tmp_path / name}" for name in ("ca", "cert", "key")]
    tls = load(Settings, ["--etcd=https://a:1,b:2", *flags], program=PROGRAM).etcd_tls()
    assert tls is not None
    assert (tls.root_certificates, tls.certificate_chain, tls.private_key) == (b"ca", b"cert", b"key")
    alone = load(Settings, ["--etcd=https://a:1", flags[0]], program=PROGRAM).etcd_tls()
    assert alone is not None
    assert (alone.certificate_chain, alone.private_key) == (None, None)


def test_a_file_of_tls_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    settings = load(Settings, ["--etcd=https://a:1", f"--etcd-ca={tmp_path / 'ca'}"], program=PROGRAM)
    with pytest.raises(FileNotFoundError):
        settings.etcd_tls()
