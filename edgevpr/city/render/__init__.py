"""Pixels of a view.

::

    render   one image: all of the below in order
    raycast  visible walls, ground and cut-outs of each image column
    traffic  vehicles and people of a visit, as planes
    light    light by hour, season and weather
    sky      sky and skyline
    sensor   blur, exposure, noise
"""
