"""The decisions: pure functions of a snapshot and a configuration, no clock, no database, no socket."""
