"""Descriptors of image folders."""
