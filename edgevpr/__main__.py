"""``python -m edgevpr``."""

from edgevpr.cli.main import main

main()
