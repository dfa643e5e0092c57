"""Where the paper exchange's price comes from."""
