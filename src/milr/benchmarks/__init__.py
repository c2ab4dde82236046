"""Benchmarks: prompts, report metric, folder layout; one file each."""
