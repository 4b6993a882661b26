"""Measurements, one command each, printed and written to benchmarks/results."""
