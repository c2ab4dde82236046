"""The fault suite: `python -m tests.faults --seed 0` breaks what can break, and counts what survives."""
