"""The embedded world: what can be said, planned, drawn and judged on a laptop."""
