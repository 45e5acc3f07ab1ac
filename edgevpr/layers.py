"""What a FAISS index is made of: re-ranking stores, transforms, and the index under them."""

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
