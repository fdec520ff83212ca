"""Prompt texts and how they become messages: a stable prefix first, the source text alone and last."""
