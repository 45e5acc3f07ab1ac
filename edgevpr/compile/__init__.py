"""Compilation: a model artifact in, a bundle for one target out; and engines, built on a device.

* options: what can be asked for; request: what was asked for, checked.
* pipeline: from model to bundle; stages: its slow parts, cached; steps: its clock and bars.
* source: model and projection, read; bundle, board_graphs, evidence: the artifact, written.
* cache, versions: entries by the content of their inputs, the code and the packages.
* graph/: ONNX graphs, checked, fused, run; precision/: FP16 and INT8; auto/: search for it.
* exits/: networks with early exits.
* engine/: TensorRT engines, also on a board; index/: gallery indexes; gallery_updates/: changes.
"""
