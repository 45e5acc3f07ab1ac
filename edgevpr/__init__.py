"""edgevpr: visual place recognition for the board a robot carries."""

__version__ = "0.1.0"
