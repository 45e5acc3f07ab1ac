"""Demo: the whole chain on a synthetic city.

::

    chain        run_demo: every verb in order, and the closing table
    score_drive  answers of the drive against the true positions
    exit_rows    rows of the early exits, and the drive under a deadline
    demo_page    report.html
    weights/     networks of other cities to start from
"""
