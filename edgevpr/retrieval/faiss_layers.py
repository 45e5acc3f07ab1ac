"""Layers of a FAISS index: re-ranking stores, transforms, and the index under them."""

from typing import Any


def layers(index: Any) -> list[Any]:
    """An index and everything in it, innermost first; ``index`` must outlive the answer."""
    import faiss

    index = faiss.downcast_index(index)
    inside: list[Any] = []
    if isinstance(index, faiss.IndexRefine):
        inside = layers(index.base_index) + layers(index.refine_index)
    elif isinstance(index, faiss.IndexPreTransform):
        inside = layers(index.index)
    return [*inside, index]


def innermost(index: Any) -> Any:
    """The index that finds the candidates, under all stores and transforms."""
    return layers(index)[0]


def store_of(index: Any) -> Any:
    """The layer that answers are finally compared with, if it keeps vectors; None if only codes."""
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return faiss.downcast_index(index.refine_index)
    if isinstance(index, faiss.IndexFlat | faiss.IndexScalarQuantizer):
        return index
    return None
