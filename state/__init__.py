"""Nouns: what a record, a user, a campaign and a trigger are, and how they are written down."""
