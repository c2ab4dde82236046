"""The fuzzer: `python -m tests.fuzz --seconds 600` damages what parsers read; only MilrError may come out."""
