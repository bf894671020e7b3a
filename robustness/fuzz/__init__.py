"""Fuzzing of router/relay at length."""
