"""Rewards: one file for each judge. Every one returns a `Score` in [0, 1], unscored where it cannot judge."""
