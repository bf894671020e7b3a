"""Settings of a process: flags, then AGENTRING_* variables, then a TOML file (`--config`), in this order of weight.

One frozen object per process, read once in its __main__. A setting that is wrong ends the process with one line that
names it, exit status 2.
"""

import argparse
import os
import ssl
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import grpc
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    CliToggleFlag,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from agentring import variables
from agentring.address import check_address, check_etcd_endpoint
from agentring.certificates.context_files import ContextFiles
from agentring.certificates.contexts import http2_only, serving_context
from agentring.cluster.etcd.channel import EtcdTls
from agentring.cluster.etcd.login import EtcdLogin, check_etcd_login, login_of
from agentring.exposure import Port, check_ports, is_reached
from agentring.rpc.channel import PeerCredentials
from agentring.rpc.probe import Tls

EXIT_BAD_SETTINGS = 2


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part for part in value.split(",") if part)
    if isinstance(value, list | tuple):
        return tuple(part for item in value for part in str(item).split(",") if part)
    return value


def _endpoints(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        check_etcd_endpoint(word)
    return words


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list: comma separated, or the flag repeated."""
HostPort = Annotated[str, AfterValidator(partial(check_address, to_listen=True))]
"""Where to listen."""
PeerAddress = Annotated[str, AfterValidator(check_address)]
"""Where others listen."""


class ProcessSettings(BaseSettings):
    """What routers and nodes have in common."""

    model_config = SettingsConfigDict(env_prefix="AGENTRING_", frozen=True, extra="forbid", validate_default=True)

    listen: HostPort = Field("127.0.0.1:0", description="host:port to serve on; port 0: a free one")
    etcd: Annotated[CommaSeparated, AfterValidator(_endpoints)] = Field(
        ("http://127.0.0.1:2379",), min_length=1, description="etcd's endpoints"
    )
    etcd_timeout_s: float = Field(2.0, gt=0, le=60, description="deadline of one call to etcd")
    etcd_ca: Path | None = Field(None, description="PEM file: the authority of etcd's certificates; turns TLS on")
    etcd_cert: Path | None = Field(None, description="PEM file: our certificate for etcd")
    etcd_key: Path | None = Field(None, description="PEM file: the key of etcd_cert")
    etcd_user: str | None = Field(
        None, min_length=1, description="our user in etcd; without: the name in etcd_cert, where etcd looks at it"
    )
    etcd_password_file: Path | None = Field(None, description="file: the password of etcd_user, read at each login")
    tls_cert: Path | None = Field(None, description="PEM file: our certificate for those who call us; turns TLS on")
    tls_key: Path | None = Field(None, description="PEM file: the key of tls_cert")
    tls_client_ca: Path | None = Field(None, description="PEM file: callers must have a certificate of this authority")
    metrics_listen: HostPort | None = Field(
        None, description="host:port for Prometheus; worker n of several has the port n higher"
    )
    metrics_client_ca: Path | None = Field(
        None, description="PEM file: who reads the metrics must have a certificate of this authority"
    )
    insecure_plaintext: CliToggleFlag[bool] = Field(
        False, description="ports that other machines can reach may be without TLS"
    )
    insecure_anonymous: CliToggleFlag[bool] = Field(
        False, description="ports that other machines can reach may ask nobody who he is"
    )
    node_ca: Path | None = Field(None, description="PEM file: the authority of the nodes' certificates; turns TLS on")
    node_cert: Path | None = Field(None, description="PEM file: our certificate for nodes")
    node_key: Path | None = Field(None, description="PEM file: the key of node_cert")
    access_log: Path | None = Field(
        None, description="directory for the log of who called what; none of it without this"
    )
    access_log_key: Path | None = Field(
        None, description="file of 32 bytes or more that the access log is sealed with, the same in all processes"
    )
    access_log_file_mib: int = Field(
        64, ge=1, description="a file of the access log is followed by the next beyond so much"
    )
    auth: Path | None = Field(
        None, description="TOML file: who may call, and as whom; without it everybody may do everything"
    )
    cluster_secret_file: Path | None = Field(
        None, description="file: what routers and nodes of one machine sign their calls to nodes with"
    )
    cluster: str = Field("default", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="the cluster's name in etcd")
    first_frame_timeout_s: float = Field(10.0, gt=0, description="how long a stream may be opened and silent")
    self_check_s: float = Field(
        5.0, ge=0, description="how often the process checks that it answers at its own port; 0: never"
    )
    self_check_patience_s: float = Field(
        30.0, ge=3, description="a process whose checks have failed for so long ends; a closed port ends it sooner"
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="least level that is logged")

    @model_validator(mode="after")
    def _etcd_fits_together(self) -> Self:
        if (self.etcd_cert is None) != (self.etcd_key is None):
            raise ValueError("--etcd-cert and --etcd-key are given together or not at all")
        if self.etcd_cert and not self.etcd_ca:
            raise ValueError("--etcd-cert needs --etcd-ca, which turns TLS on")
        for endpoint in self.etcd:
            if endpoint.startswith("http://" if self.etcd_ca else "https://"):
                raise ValueError(f"--etcd {endpoint} does not go with{'' if self.etcd_ca else 'out'} --etcd-ca")
        check_etcd_login(self.etcd, self.etcd_user, self.etcd_password_file, tls=self.etcd_ca is not None)
        return self

    @model_validator(mode="after")
    def _tls_fits_together(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key are given together or not at all")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("--tls-client-ca needs --tls-cert, which turns TLS on")
        if self.metrics_client_ca and not self.tls_cert:
            raise ValueError("--metrics-client-ca needs --tls-cert, which turns TLS on")
        return self

    @model_validator(mode="after")
    def _access_log_fits_together(self) -> Self:
        if (self.access_log is None) != (self.access_log_key is None):
            raise ValueError("--access-log and --access-log-key are given together or not at all")
        return self

    @model_validator(mode="after")
    def _node_tls_fits_together(self) -> Self:
        if (self.node_cert is None) != (self.node_key is None):
            raise ValueError("--node-cert and --node-key are given together or not at all")
        if self.node_cert and not self.node_ca:
            raise ValueError("--node-cert needs --node-ca, which turns TLS on")
        return self

    @model_validator(mode="after")
    def _nothing_stands_open(self) -> Self:
        check_ports(self._ports(), plaintext=self.insecure_plaintext, anonymous=self.insecure_anonymous)
        return self

    def _ports(self) -> Iterator[Port]:
        tls, by = self.tls_cert is not None, "--tls-cert and --tls-key"
        yield Port("--listen", self.listen, tls, by, self.auth is not None, "--auth")
        if self.metrics_listen is not None:
            asks = self.metrics_client_ca is not None
            yield Port("--metrics-listen", self.metrics_listen, tls, by, asks, "--metrics-client-ca")

    @model_validator(mode="after")
    def _auth_fits_together(self) -> Self:
        if self.auth is None and self.cluster_secret_file is not None:
            raise ValueError("--cluster-secret-file needs --auth: without it nobody is asked who calls")
        has_certificates = self.node_cert is not None or self.tls_client_ca is not None
        if self.auth is not None and self.cluster_secret_file is None and not has_certificates:
            raise ValueError(
                "--auth needs --cluster-secret-file, or certificates of routers and nodes (--node-cert, "
                "--tls-client-ca): a node that asks who calls must know its routers"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands in."""
        return (init_settings,)

    def self_check_tls(self) -> Tls:
        """How the process speaks with its own port."""
        if self.tls_cert is None:
            return Tls.NONE
        return Tls.MUTUAL if self.tls_client_ca is not None else Tls.SERVER

    def etcd_tls(self) -> EtcdTls | None:
        """The TLS material for etcd; None: plaintext. Raises OSError."""
        if self.etcd_ca is None:
            return None
        return EtcdTls(
            self.etcd_ca.read_bytes(),
            self.etcd_cert.read_bytes() if self.etcd_cert else None,
            self.etcd_key.read_bytes() if self.etcd_key else None,
        )

    def etcd_login(self) -> EtcdLogin | None:
        """Who we are to etcd; None: whom our certificate names, or nobody. Raises PasswordUnreadable."""
        return login_of(self.etcd_user, self.etcd_password_file)

    def server_tls(self) -> ContextFiles | None:
        """For those who call us; None: plaintext. Raises OSError."""
        if self.tls_cert is None:
            return None
        files = [file for file in (self.tls_cert, self.tls_key, self.tls_client_ca) if file is not None]
        return ContextFiles(self._server_context, files)

    def _server_context(self) -> ssl.SSLContext:
        assert self.tls_cert is not None
        return http2_only(serving_context(self.tls_cert, self.tls_key, self.tls_client_ca))

    def metrics_tls(self) -> ContextFiles | None:
        """For those who read the metrics: where other machines can reach them, or a certificate is asked for. None:
        plaintext. Raises OSError."""
        if self.tls_cert is None or self.metrics_listen is None:
            return None
        if self.metrics_client_ca is None and not is_reached(self.metrics_listen):
            return None
        make = partial(serving_context, self.tls_cert, self.tls_key, self.metrics_client_ca)
        files = [file for file in (self.tls_cert, self.tls_key, self.metrics_client_ca) if file is not None]
        return ContextFiles(make, files)

    def node_credentials(self) -> PeerCredentials | None:
        """For calls of nodes; None: plaintext. Raises OSError."""
        if self.node_ca is None:
            return None
        key, cert = (path.read_bytes() if path is not None else None for path in (self.node_key, self.node_cert))
        return PeerCredentials(grpc.ssl_channel_credentials(self.node_ca.read_bytes(), key, cert), self.cluster)


S = TypeVar("S", bound=ProcessSettings)


def load(settings_class: type[S], argv: Sequence[str], *, program: str) -> S:
    """The process's settings. Ends the process with status 2 and a line for each wrong one, or with 0 on --help."""
    pre = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    pre.add_argument("--config", type=Path)
    try:
        known, rest = pre.parse_known_args(argv)
        flags: CliSettingsSource[Any] = CliSettingsSource(
            settings_class,
            cli_parse_args=rest,
            cli_kebab_case=True,
            cli_prog_name=program,
            cli_avoid_json=True,
            cli_exit_on_error=False,
        )
        _check_variables(settings_class, program)
        file = _read_toml(settings_class, known.config) if known.config else {}
        return settings_class(**{**file, **EnvSettingsSource(settings_class)(), **flags()})
    except ValidationError as error:
        for wrong in error.errors():
            name = f"--{wrong['loc'][0]}: ".replace("_", "-") if wrong["loc"] else ""
            print(f"{program}: {name}{wrong['msg'].removeprefix('Value error, ')}", file=sys.stderr)
    except (SettingsError, argparse.ArgumentError) as error:
        print(f"{program}: {error}", file=sys.stderr)
    raise SystemExit(EXIT_BAD_SETTINGS)


def _check_variables(settings_class: type[ProcessSettings], program: str) -> None:
    near, strange = variables.unknown(os.environ, settings_class.model_fields)
    if near:
        raise SettingsError("; ".join(f"{name} is no setting: is {right} meant?" for name, right in near.items()))
    for name in strange:
        print(f"{program}: {name} is no setting, and ignored", file=sys.stderr)


def _read_toml(settings_class: type[S], path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SettingsError(f"--config {path}: no such file")
    try:
        return TomlConfigSettingsSource(settings_class, path)()
    except (OSError, ValueError) as error:  # of ValueError: not TOML, not UTF-8
        raise SettingsError(f"--config {path}: {error}") from None
