"""Search for the fastest assignment of precisions that keeps the recall.

* groups: layers that change precision together.
* assignment: which group runs in which precision, on a CPU here or a GPU elsewhere.
* roofline: latency on that GPU, predicted; tuning_images: images with places, and their recall.
* measurements: error, recall and latency of an assignment; search: the search itself.
* decision: its record in the bundle.
"""
