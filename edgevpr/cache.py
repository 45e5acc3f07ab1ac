"""Where things are kept that can be made again: downloads, timing caches."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$EDGEVPR_CACHE, else ``edgevpr`` in the user's cache folder; it need not exist yet."""
    if set_by_user := os.environ.get("EDGEVPR_CACHE"):
        return Path(set_by_user)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgevpr"
