"""Choice of the exit of a network with early exits, frame by frame.

::

    parse_exit    what `exit` asks for: a name, deadline:MS, confidence:P[,MS] or budget:FILE
    policies      the policies: which exit first, and whether to go on to a deeper one
    exit_times    what each exit takes here and now, and when a slow one is worth a retry
    decaying      histogram of times that forgets
    budget_file   the level that another program writes
    exit_plan     policy, confidence models and search parameters of a bundle with a gallery
"""
