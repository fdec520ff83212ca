"""Merging: a tree of summaries; items over chunks, with evidence."""
