"""Textures of a district, painted into one atlas.

::

    district             all of a district, from a seed and a name
    atlas, canvas        texture memory with levels of detail; painting in metres
    facade               street fronts of houses, from materials, windows, shopfront, roofs
    ground               map of the ground, and its colours in a season
    planting             where trees, lamps, signs, benches and awnings stand
    trees, furniture, fences, vehicles
                         their textures, and those of people
"""
