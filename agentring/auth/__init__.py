"""Who calls, and what he may do: credentials, and the identities that they give."""
