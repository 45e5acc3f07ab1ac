"""TensorRT engines; everything here runs on a board with TensorRT and the bare install.

* build_engine: the build of a bundle's engine; on_device: the device, and one engine for it.
* recipe: how each TensorRT release builds it; releases, compatibility: what each release needs.
* builder, build_progress, timing_cache: TensorRT's builder; layer_report: precision of its layers.
* first_run, parity: golden images through the new engine, and the gates.
* sidecars: engine files in a bundle; preflight: room and memory before a build.
* over_ssh, ssh: the same on another machine.
"""
