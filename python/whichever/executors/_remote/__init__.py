"""What runs on the far side of a boundary: in worker processes, their template, and sub-interpreters.

The folder is loaded there as a top-level package of its own, ``_whichever_remote``: a worker starts without
importing whichever (whose native core no sub-interpreter can load). So it uses the standard library and
cloudpickle only, imports its own modules relatively, and sends tuples, never classes of its own.
"""
