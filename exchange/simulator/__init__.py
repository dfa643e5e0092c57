"""The paper exchange: REST v3 and Stream v1 of LN Markets on this machine."""
