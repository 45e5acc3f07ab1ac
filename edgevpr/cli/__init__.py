"""The ``edgevpr`` command line.

    main        assembly of the verbs, exit codes, errors as one sentence
    process     descriptors and signals of the process, as verbs count on them
    system_errors  sentences for what the operating system refuses
    verbs       table of the verbs; loads the module of the one that is called
    options     options of a verb from a dataclass
    spelling    parameter names in messages as the verb's flags
    usage       sentences for what typer itself refuses
    outputs     outputs of every verb, kept off its inputs
    console     notes, JSON, tables and progress bars
    tables      layout of a table in plain text
    signatures  signing and verifying of bundles and galleries
    engine      build of the engine that a bundle lacks, before a first run

Every other module is the verb of its name: ``command``, or a ``group`` of commands.
"""
