"""What a cluster's authority signs, and what it does not."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from agentring.certificates.authority import Authority, AuthorityUnusable, Issued, make_authority
from agentring.certificates.names import Holder, host_name_of

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def made() -> Issued:
    return make_authority("blue", 10 * DAY)


def test_a_certificate_names_its_holder_alone(made: Issued) -> None:
    authority = Authority.load(made.certificate, made.key)
    issued = x509.load_pem_x509_certificate(
        authority.issue(Holder.node, "n1", ["10.0.0.1", "n1.internal"], DAY).certificate
    )
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names if not isinstance(name, x509.IPAddress)] == [
        "spiffe://blue/node/n1",
        host_name_of("spiffe://blue/node/n1"),
        "n1.internal",
    ]
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(made.certificate))


def test_a_client_cannot_serve(made: Issued) -> None:
    issued = Authority.load(made.certificate, made.key).issue(Holder.client, "billing", [], DAY)
    usages = x509.load_pem_x509_certificate(issued.certificate).extensions.get_extension_for_class(
        x509.ExtendedKeyUsage
    )
    assert list(usages.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_no_certificate_outlives_its_authority(made: Issued) -> None:
    issued = Authority.load(made.certificate, made.key).issue(Holder.node, "n1", [], 90 * DAY)
    assert issued.not_after.replace(microsecond=0) == made.not_after.replace(microsecond=0)


def test_what_is_no_authority_signs_nothing(made: Issued) -> None:
    leaf = Authority.load(made.certificate, made.key).issue(Holder.node, "n1", [], DAY)
    other, ended = make_authority("blue", DAY), make_authority("blue", timedelta(seconds=-1))
    for certificate, key, why in [
        (leaf.certificate, leaf.key, "no cluster made it"),
        (made.certificate, other.key, "the key is not the certificate's"),
        (ended.certificate, ended.key, f"it ended on {datetime.now(UTC):%Y-%m-%d}"),
        (b"", made.key, "in PEM"),
        (made.certificate, made.certificate, "in PEM"),
    ]:
        with pytest.raises(AuthorityUnusable, match=why):
            Authority.load(certificate, key)


def test_no_key_is_shown(made: Issued) -> None:
    assert "PRIVATE" not in repr(made)
    assert "PRIVATE" in made.key.decode()
