"""Webhooks: systems that tell us what happened in their own words, proved by a signature, mapped by a file."""
