"""The registry's pages: what is known of each workload, as plain data. Nothing here imports a task."""

from __future__ import annotations

from workloads.entries import compute, libraries, network, shapes, waiting

ENTRIES = (*compute.ENTRIES, *waiting.ENTRIES, *network.ENTRIES, *libraries.ENTRIES, *shapes.ENTRIES)
