"""Positions of images and the places they show.

table            image tables: paths, place ids, positions, times
check_positions  refusal of images that were taken nowhere on Earth
positives        gallery images that answer a query
csv_rows         rows of tables in text, of any encoding
near             images near a point, the GPS prior
grid             neighbours within a radius
utm              degrees and UTM metres
wgs84            the ellipsoid, metres between points in degrees
"""
