"""Emails made from templates and data, and the signed links in them; pure: no clock, no network, no store."""
