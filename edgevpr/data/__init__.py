"""Readers of image data sets; each gives an ``edgevpr.places.table.ImageTable``.

read            a folder of any layout
image_folder    @utm names and EXIF positions
image_files     the image files of a folder
names           @utm file names, written and parsed
exif            position, heading and time of a photo
gsv, msls       GSV-Cities, Mapillary Street-Level Sequences
pittsburgh      Pittsburgh with its MATLAB files
name_lists      lists of image names in .npy
split           database/ and queries/ side by side
protocols       evaluation protocols with their counts
convert         photos with positions to an @utm folder
descriptor_file descriptors of other programs, as features artifacts
position_files  positions in CSV and KML, matched to photos
gpx_track       positions on GPX tracks by time
readings        degrees, headings and times as cameras and spreadsheets write them
left_out        what a reader could not use, and why
"""

from edgevpr.data.gsv import read_gsv_cities
from edgevpr.data.image_folder import read_folder
from edgevpr.data.names import UtmName, format_utm_name, parse_utm_name
from edgevpr.data.read import read_images
from edgevpr.data.split import read_split

__all__ = [
    "UtmName",
    "format_utm_name",
    "parse_utm_name",
    "read_folder",
    "read_gsv_cities",
    "read_images",
    "read_split",
]
