"""The decode engine: batches over one key-value cache, prefix cache, speculative drafts, CUDA graphs."""
