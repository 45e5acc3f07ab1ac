"""Procedural city: streets to train and test place recognition on, drawn from a seed.

::

    layout/    where streets, houses, cameras and drives are
    surfaces/  textures of a district, painted into one atlas; ``District`` of a seed and a name
    render/    ``render(district, pose, conditions)``: pixels of a view
    size       ``CitySize``: districts, places and views
    worker     images of a few places, or a stretch of a drive, in a worker process
    dataset    ``write_city``: training, validation and test sets, and a drive
    naming     file names and CSV rows
    thumbnail  recall of a nearest neighbour over thumbnails, the baseline of a city
    exact_math random numbers, noise and angles with the same bits on every machine
"""
