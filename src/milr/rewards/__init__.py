"""Rewards: one file for each reward that a user can name. Each returns a `Score` in [0, 1], unscored where it cannot.

What they ask lies in `vision/` (networks on this machine) and `endpoint/` (judge models that are asked in words).
"""
