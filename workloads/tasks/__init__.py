"""The tasks as their users would write them; `prepare_NAME` yields the function and its items.

Every preparer is a context manager: what it started or wrote is gone when the context ends.
"""
