"""Pixels of a view: ray casting, light, sky, traffic, sensor."""
