"""The algorithm: what is free, when it moves, and how."""
