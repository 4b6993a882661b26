"""Verbs: the fold and its machines, pure functions of a shard and its log."""
