"""Positions and places."""
