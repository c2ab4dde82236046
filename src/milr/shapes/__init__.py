"""The embedded world: its prompts, plans, pictures and judges, small enough for a laptop."""
