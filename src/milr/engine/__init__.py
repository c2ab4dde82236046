"""Many searches at once: the studio that makes batches of their requests, the run loop, processes for small models."""
