//! Linux calls as safe functions: the only room that knows libc.
