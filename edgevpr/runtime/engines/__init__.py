"""Engines that turn images into descriptors.

::

    runner        the ``Runner`` protocol, ONNX Runtime, ``runner_from_bundle``
    onnx_contract what a graph must be, checked on its bytes
    tensorrt      TensorRT and TensorRT-RTX, and the choice of a bundle's engine for this GPU
    cuda_buffer   host memory with its GPU side
    cuda_graph    copies and engine recorded as one launch
    rtx_cache     kernels that TensorRT-RTX compiled for this GPU
"""
