"""Runs on disk: what a run is (config), how it is kept (store), how its jobs are worked off (runner)."""
