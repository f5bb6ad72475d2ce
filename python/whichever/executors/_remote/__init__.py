"""What runs on the far side of a boundary: in worker processes, their template, and sub-interpreters.

The folder is loaded there by its path, as a top-level package ``_whichever_remote`` or, in a process pool, under
its full name but without the packages above it: a worker starts without importing whichever (whose native core no
sub-interpreter can load). So it uses the standard library and cloudpickle only, imports its own modules relatively,
and sends tuples. Whatever a process pool's payload names in here, it names alike on both sides.
"""
