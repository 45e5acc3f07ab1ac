"""FP16 and INT8 typing of graphs.

* choices: names of precisions, and of methods that set INT8 ranges.
* calibration: images that set INT8 ranges.
* structure: nodes that stay in FP32, layers worth INT8.
* cpu_graph: INT8 for ONNX Runtime; gpu_graph, modelopt: FP16 and INT8 for TensorRT.
* qdq: Q/DQ pairs taken away again; half: rounding to FP16 in an FP32 graph.
* typed: a typed graph with the names of its FP32 and INT8 nodes.
"""
