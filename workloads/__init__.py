"""Real tasks with real libraries and real data, each with its items and what is known of it.

Rooms: `registry` says what a workload is and finds them all; `entries` are its pages, plain data; `tasks`
holds the functions as a user would write them, one module for each set of libraries; `servers` are separate
programs that some tasks talk to; `data` makes the items. Optional libraries are imported by `tasks` alone, so
that the registry is complete wherever it is read.
"""
