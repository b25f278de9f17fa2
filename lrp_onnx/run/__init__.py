"""A compiled model on arrays: feeds, batches, results."""
