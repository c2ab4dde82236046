"""Judge models that are asked in words: the question, its wording, and the client of an OpenAI-compatible endpoint."""
