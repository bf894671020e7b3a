"""What Alembic runs its versions in: the transaction of whoever opens the store (store/database/migration.py)."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
