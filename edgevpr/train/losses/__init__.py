"""Losses of query and gallery networks."""
