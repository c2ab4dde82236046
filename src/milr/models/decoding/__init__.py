"""The decode engine: batches of sequences over one key-value cache, shared prefixes, drafts, CUDA graphs."""
