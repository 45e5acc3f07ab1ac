"""Frames from cameras, videos, folders and bags."""
