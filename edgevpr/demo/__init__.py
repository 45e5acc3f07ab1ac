"""Demo: the whole chain on a synthetic city.

::

    chain        run_demo: every verb in order, and the closing table
    score_drive  answers of the drive against the true positions
    demo_page    report.html
    weights/     networks of other cities to start from
"""
