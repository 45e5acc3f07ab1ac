"""Search over a changed gallery: its index and the images added beside it, less those removed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.runtime.gallery.selection import Found, Selection


class Parts:
    """The index, the images added beside it, and the rows of both that may be answered with.

    Args:
        main, added: FAISS indexes with their parameters set; ``added`` None without any.
        live: (N + M,) rows not taken out.
    """

    def __init__(self, main: Any, added: Any, live: NDArray[np.bool_]) -> None:
        self._indexes = [main] + ([] if added is None else [added])
        self._live = live
        self._everything = self.only(None)

    def only(self, mask: NDArray[np.bool_] | None) -> list[Selection]:
        """A selection of (N + M,) rows for ``search``, to be used many times; None: all."""
        mask = self._live if mask is None else mask & self._live
        starts = np.cumsum([0] + [index.ntotal for index in self._indexes])
        return [
            Selection(index, mask[start : start + index.ntotal])
            for index, start in zip(self._indexes, starts, strict=False)
        ]

    @property
    def added(self) -> Any:
        """The index beside the map's."""
        return self._indexes[1]

    def forget_parameters(self, others: list[Selection]) -> None:
        """The indexes have been set anew: so must be what selections took over from them."""
        for selection in [*self._everything, *others]:
            selection.forget_parameters()

    def search(
        self, vectors: NDArray[np.float32], k: int, among: list[Selection] | None = None
    ) -> Found:
        """(B, k) scores and rows, best first; -1 where there are fewer."""
        first, *rest = among or self._everything
        scores, rows = first.search(vectors, k)
        for selection in rest:
            more, found = selection.search(vectors, min(k, selection.count))
            if not more.shape[1] or (more[:, 0] <= scores[:, -1]).all():
                continue  # the usual case: nothing added is near
            found = np.where(found < 0, -1, found + self._indexes[0].ntotal)
            scores, rows = np.hstack([scores, more]), np.hstack([rows, found])
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores = np.take_along_axis(scores, order, axis=1)
            rows = np.take_along_axis(rows, order, axis=1)
        return scores, rows
