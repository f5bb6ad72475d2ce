"""Stands in for the native core on both sides: the crew's answers in a thread, a worker's rings as one socket.

Loaded by its path, like the real one, in the template process too; so standard library only.
"""

import contextlib
import itertools
import os
import pickle
import socket
import struct
import threading

PACKET = struct.Struct("<cxxxiqqq")
MESSAGE_BYTES = 128 * 1024

answers = []
forgotten = []
arrived = threading.Condition()
_tokens = itertools.count(1)
_templates = itertools.count(1)


def new_token():
    return next(_tokens)


def usable_cores():
    return {"affinity": 2, "quota": None, "cores": 2.0}


def belongs_to_template(token, template):
    assert template > 0


def has_ended(token):
    return _find("D", token) is not None


def forget_worker(token):
    forgotten.append(token)


def adopt_template(fd):
    control = socket.socket(fileno=os.dup(fd))
    threading.Thread(target=_read, args=(control,), daemon=True).start()
    return next(_templates)


def _read(control):
    with control, contextlib.suppress(ConnectionResetError):  # a template that was killed
        while packet := control.recv(PACKET.size):
            kind, number, token, memory, pid = PACKET.unpack(packet)
            with arrived:
                answers.append((kind.decode(), number, token, memory, pid))
                arrived.notify_all()


def answer(kind, token, seconds=20):
    """Wait for the answer of a kind about a token."""
    with arrived:
        assert arrived.wait_for(lambda: _find(kind, token), seconds), (kind, token, answers)
        return _find(kind, token)


def _find(kind, token):
    return next((one for one in answers if one[0] == kind and one[2] == token), None)


class WorkerCore:
    """Serves requests from the link socket: functions by pickle, run through the hooks."""

    def __init__(self, link, page, arena, own_arena):
        self._link = socket.socket(fileno=link)
        self._page = page

    def serve(self, hooks, _most_bytes=None):
        pid = os.getpid()
        while True:
            kind, *rest = pickle.loads(self._link.recv(MESSAGE_BYTES))
            if kind == "stop":
                hooks.flush()
                return
            context, blob = rest
            try:
                fn, args, kwargs = hooks.load_call(blob, [])
                value = hooks.run(context, fn, args, kwargs)
                if os.getpid() != pid:
                    hooks.leave_copy(None)
                reply = "result", hooks.dump_result(value)[0]
            except BaseException as error:
                if os.getpid() != pid:
                    hooks.leave_copy(error)
                reply = "error", hooks.dump_error(error)
            if hooks.dirty:
                hooks.flush()
            self._send(*reply)

    def take_interrupt(self):
        return os.pread(self._page, 1, 0) == b"1"

    def say(self, stream, text):
        self._send("say", stream, text)

    def log(self, blob):
        if len(blob) > 32 * 1024:
            raise MemoryError
        self._send("log", blob)

    def report_failure(self, blob):
        assert len(blob) <= 32 * 1024
        self._send("failed", blob)

    def _send(self, *message):
        self._link.send(pickle.dumps(message))
