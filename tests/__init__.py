"""Tests mirror the packages; `tests.shopping` is their vocabulary."""
