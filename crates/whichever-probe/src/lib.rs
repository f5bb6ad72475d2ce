//! Reads a Python process, this one first of all: threads, GIL holder, states.

#![forbid(unsafe_code)]
