"""The SQL stores: statements and transactions, the same on SQLite and PostgreSQL."""
