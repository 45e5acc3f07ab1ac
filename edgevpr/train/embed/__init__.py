"""Descriptors of image folders.

::

    embed             describe_images; embed: a features artifact, in shards of several processes
    embed_on_cluster  the same through Ray Data
    through_exits     networks that describe by early exits
    staging           unfinished descriptors on disk, from which an interrupted run goes on
"""
