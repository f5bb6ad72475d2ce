"""The tests of asyncio and of uvloop that another loop need not pass, each with its reason.

A test belongs here only when it tests how a loop is built (a private name, a mock in place of one of the loop's own
parts), or asks for what uvloop does otherwise than asyncio, which our loop follows. What is merely missing does
not belong here. `MOST` bounds the list.
"""

from __future__ import annotations

MOST = 80

NOT_OF_A_LOOP = {
    "test_proactor_events": "Windows' loop, on mocks",
    "test_selector_events": "the insides of asyncio's own selector loop, on mocks",
    "test_sourcecode": "uvloop's own source files",
    "test_testbase": "uvloop's own test helpers",
    "test_windows_events": "Windows",
    "test_windows_utils": "Windows",
}
"""Modules in which no test makes a loop by the public way."""

WHITE_BOX: dict[str, str] = {
    "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket":
        "reads `_read_ready_cb`, and puts a socket of its own into asyncio's transport",
    "tests.test_base.TestBaseUV.test_thread_name_prefix_in_default_executor":
        "wants the threads to be called uvloop; asyncio's and ours are called asyncio",
    "tests.test_fs_event.Test_UV_FS_Event.test_fs_event_change":
        "calls `_monitor_fs`, a private method of uvloop",
    "tests.test_fs_event.Test_UV_FS_Event.test_fs_event_rename":
        "calls `_monitor_fs`, a private method of uvloop",
    "tests.test_process.Test_UV_Process_Delayed.test_process_delayed_stdio__paused__no_stdin":
        "passes `__uvloop_sleep_after_fork`, a private switch of uvloop",
    "tests.test_process.Test_UV_Process_Delayed.test_process_delayed_stdio__paused__stdin_pipe":
        "passes `__uvloop_sleep_after_fork`, a private switch of uvloop",
    "tests.test_signals.Test_UV_Signals.test_signals_no_SIGCHLD":
        "wants a handler of SIGCHLD to be refused, since libuv needs the signal; asyncio takes one",
    "tests.test_sockets.TestUVSockets.test_pseudosocket":
        "looks at the class that stands for a transport's socket; ours is asyncio's TransportSocket",
    "tests.test_sockets.TestUVSockets.test_socket_sync_remove":
        "calls `_get_backend_id`, a private method of uvloop",
    "tests.test_tcp.Test_UV_TCP.test_create_server_buffered_2":
        "wants uvloop's wording of an error; the protocol's own one comes through, as in asyncio",
    "tests.test_tcp.Test_UV_TCP.test_tcp_handle_abort_in_connection_made":
        "wants no socket in an aborted transport's extra info; asyncio's shows the closed one",
    "tests.test_tcp.Test_UV_TCPSSL.test_flush_before_shutdown":
        "asks the transport for `uvloop.sslproto`, uvloop's own class",
    "tests.test_tcp.Test_UV_TCPSSL.test_shutdown_timeout_handler_not_set":
        "wants what came while reading was paused to be dropped when the peer hangs up; asyncio keeps it",
    "tests.test_udp.Test_UV_UDP.test_create_datagram_endpoint_reuse_address_error":
        "passes `reuse_address`, which asyncio has taken out in 3.11",
    "tests.test_udp.Test_UV_UDP.test_create_datagram_endpoint_reuse_address_warning":
        "passes `reuse_address`, which asyncio has taken out in 3.11",
    "tests.test_udp.Test_UV_UDP.test_create_datagram_endpoint_wrong_sock":
        "wants uvloop's wording of an error; ours is asyncio's",
    "tests.test_udp.Test_UV_UDP.test_udp_sendto_dns":
        "wants names to be refused by sendto; asyncio looks them up",
}  # fmt: skip
"""Tests by name, as ``module.class.method``."""
