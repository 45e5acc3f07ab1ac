"""Engines that turn images into descriptors.

::

    runner        the ``Runner`` protocols, ONNX Runtime, ``runner_from_bundle``
    graph_paths   ways through the graphs of a bundle with early exits, and what is kept of a frame
    onnx_session  sessions of ONNX Runtime
    anytime_onnx  ONNX Runtime with early exits
    onnx_contract what a graph must be, checked on its bytes
    tensorrt      TensorRT and TensorRT-RTX, with early exits or without
    engine_choice a bundle's engines for this GPU
    cuda_buffer   host memory with its GPU side
    cuda_graph    copies and engine recorded as one launch
    rtx_cache     kernels that TensorRT-RTX compiled for this GPU
"""
