"""Many searches at once: the studio that batches their requests, the run loop, worker processes for small models."""
