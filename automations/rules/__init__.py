"""The decisions: pure functions of a snapshot and a configuration, without clock, database or socket."""
