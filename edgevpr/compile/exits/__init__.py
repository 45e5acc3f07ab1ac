"""Networks with early exits: several ways from image to descriptor through shared graphs.

* cut: the graphs of a network and the routes through them, read, checked, run.
* typed_parts: each graph in its precision, calibrated on what earlier graphs give.
* boundaries: FP16 between the graphs of a GPU target.
* parity_of_exits: which exits pass the gate; full_path: segments or one graph, by latency.
* compile_exits: all of these in order; exit_bundle: the artifact, written.
"""
