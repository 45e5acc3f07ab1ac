"""The HTML report.

::

    render_report      the page of one or more profiles
    figures            recall against latency, latency by stage, curves
    precision_search   figure and tables of a precision search
    page               tables, strips of pictures, sections
    pictures           pictures as data URIs
    drawing            matplotlib figures as SVG in the page's colours
"""
