"""Sources of frames.

::

    frames        ``Frame``, the ``Source`` protocol, image files and videos
    open_source   the source for an address
    content       content of a file by its first bytes
    video_clock   times of a video's frames, and whether it ended early
    live          the newest frame of a camera, reconnection
    cameras       cameras by address, with GStreamer or OpenCV
    gst           GStreamer pipelines
    bags          MCAP files and rosbag2 folders
    cut_mcap      MCAP files without their end
    ros_images    camera messages of ROS as images
"""
