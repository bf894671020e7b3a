"""The databases that carry out the SQL stores' transactions: drivers, group commit, migrations."""
