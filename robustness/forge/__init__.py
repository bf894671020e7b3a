"""Tokens that nobody signed are tried on the code that checks them."""
