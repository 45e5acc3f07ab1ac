"""Runners of compiled networks."""
