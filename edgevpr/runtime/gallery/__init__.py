"""The map on a robot: search, parts, selection."""
