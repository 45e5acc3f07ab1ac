"""ONNX graphs before and after precision.

* signature: reading and checking an exported graph.
* fuse: the projection appended, constants folded.
* opset17: the same graph in the operators of TensorRT 8.
* explicit_half: FP16 on a CPU, rounded as on a GPU.
* reference, latency: descriptors and milliseconds in ONNX Runtime on the CPU.
"""
