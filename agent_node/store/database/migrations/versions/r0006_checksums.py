"""Sessions' states have checksums."""

import sqlalchemy as sa
import xxhash
from alembic import op

revision = "0006"
down_revision = "0005"

_STATES = sa.table(
    "states", sa.column("tenant"), sa.column("session_id"), sa.column("state_json"), sa.column("checksum")
)
_AT_ONCE = 1_000


def upgrade() -> None:
    """Adds them to the states that there are, which are believed."""
    op.add_column("states", sa.Column("checksum", sa.String(16), nullable=False, server_default=""))
    connection = op.get_bind()
    key = sa.tuple_(_STATES.c.tenant, _STATES.c.session_id)
    page = sa.select(_STATES).order_by(_STATES.c.tenant, _STATES.c.session_id).limit(_AT_ONCE)
    rows = connection.execute(page).all()
    while rows:
        connection.execute(
            sa.update(_STATES)
            .where(_STATES.c.tenant == sa.bindparam("k_tenant"), _STATES.c.session_id == sa.bindparam("k_session_id"))
            .values(checksum=sa.bindparam("new_checksum")),
            [
                {
                    "k_tenant": row.tenant,
                    "k_session_id": row.session_id,
                    "new_checksum": xxhash.xxh3_64_hexdigest(row.state_json.encode()),
                }
                for row in rows
            ],
        )
        rows = connection.execute(page.where(key > sa.tuple_(rows[-1].tenant, rows[-1].session_id))).all()
