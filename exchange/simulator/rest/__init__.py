"""REST v3 of the paper exchange."""
