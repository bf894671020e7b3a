"""Fuzzing of router/http2 at length."""
