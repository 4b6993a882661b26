"""Sentences: each file wires one dataflow and nothing else."""
