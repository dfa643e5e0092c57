"""Accounts at the exchange, who owns them, and the one door to an authenticated client."""
