"""The machine, and the machines that are compiled for.

* cpu, gpu: processor and NVIDIA GPUs of this machine; board: the Jetson that it is.
* targets: compile targets and boards, from the device profiles.
* packages: installed packages and whether they fit.
"""
