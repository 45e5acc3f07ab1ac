"""A procedural city: streets to train and test place recognition on, drawn from a seed.

::

    plan, walls, planting      where streets, houses, trees and lamps stand
    style, house               the vocabulary of a district, one house of it
    canvas, materials, windows, shopfront, roofs, facade, fences, furniture, trees, vehicles
                               what they look like, painted into one ``atlas`` of textures
    city                       a ``District``: all of the above, from a seed and a name
    camera, raycast, traffic   which texel each pixel sees
    conditions, light, sky, ground, sensor, render
                               hour, season, weather and camera: ``render(district, pose, ...)``
    views, drive               where images are taken
    draw, files, dataset       data sets on the disk: ``write_city``
    thumbnail                  the baseline that a city must defeat
    exact                      arithmetic with the same bits on every machine
"""
