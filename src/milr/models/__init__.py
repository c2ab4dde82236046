"""Unified models: one file each, over one batched decode loop."""
