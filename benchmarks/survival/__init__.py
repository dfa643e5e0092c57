"""Guards against falls in simulated time, beside the best that any executor of theirs could do."""
