"""Tokens, chunks, and where words stand."""
