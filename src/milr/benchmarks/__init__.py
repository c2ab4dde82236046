"""Benchmarks: prompts, report metric, aggregation; one file each."""
