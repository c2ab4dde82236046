"""The networks that rewards ask on this machine, and where their weights come from."""
