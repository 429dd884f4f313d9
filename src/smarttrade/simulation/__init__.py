"""Whole worlds grown from one number to try the real server in: markets, users, a misbehaving exchange, deaths."""
