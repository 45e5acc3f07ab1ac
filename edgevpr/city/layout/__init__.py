"""Positions of streets, houses, cameras and drives.

::

    plan        streets and blocks
    walls       what occludes: fronts, side walls, fences, hedges
    style       building styles of a district
    house       one house of a style
    views       places, and the poses from which each visit sees them
    pose        camera pose, upright frame
    conditions  hour, season, weather, traffic and camera of a visit
    drive       route of a drive, frame by frame
"""
