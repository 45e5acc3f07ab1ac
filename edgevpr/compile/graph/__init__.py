"""ONNX graphs: signature, fusion, reference run."""
