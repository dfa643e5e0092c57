"""The book of the paper exchange: pure, exact, and told the time by its caller."""
