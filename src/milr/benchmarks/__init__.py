"""Benchmarks: the prompts, report metric and folder layout of each; one file for each that a user can name."""
