"""Profiles: measurement on devices, and the report of a machine.

::

    measure           ``profile``: a bundle and a gallery on real frames
    configuration     engine and search as stages, their latency and recall
    stage_times       timing of a chain of stages, percentiles
    labelled_frames   frames of a folder or a video, with their positions
    context           device context of a measurement
    doctor            report of this machine: packages, targets, cameras
    camera_backends   what opens live cameras here
    report/           the HTML report
    devices/          device profiles, one TOML file each
"""
