"""The networks that rewards run on this machine, and where their weights come from."""
