"""The protos are what is generated from, and what buf wants: STANDARD, and a comment on everything."""

import pytest

from harness.tools import ROOT, require_buf, run


def test_the_generated_code_is_what_the_protos_generate() -> None:
    run([ROOT / "scripts" / "gen_protos", "--check"])


# The first one on a machine may have to install buf.
@pytest.mark.timeout(600)
def test_the_protos_are_as_buf_wants_them() -> None:
    assert run([require_buf(), "lint", "protos"]) == ""
