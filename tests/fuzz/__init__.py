"""The fuzzer: `python -m tests.fuzz --seconds 600` feeds every parser with damaged input; only MilrError may come out."""
