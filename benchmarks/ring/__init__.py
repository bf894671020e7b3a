"""The ring's costs, and how soon a join reaches it."""
