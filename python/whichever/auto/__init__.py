"""The auto room: a pool that measures, chooses the engine, runs, and changes its mind."""
