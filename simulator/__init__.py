"""Shoppers who behave like people: the traffic of demos, tests and benchmarks."""
