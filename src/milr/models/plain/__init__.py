"""A small Janus without transformers, whose import takes longer than a picture: the same numbers, bit for bit."""
