"""Stream v1 of the paper exchange."""
