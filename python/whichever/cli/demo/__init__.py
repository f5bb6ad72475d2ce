"""Real jobs on real data, each measured on every engine: what the textbook says against what the clock says.

One module a job, named in `run.NAMES`. A job brings its function, its items (with the server or the files
they need, for as long as they are needed) and the textbook's answer. It does not bring the right answer.
"""
