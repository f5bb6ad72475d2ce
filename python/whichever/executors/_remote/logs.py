"""Log records of tasks, handed to the caller's own loggers and their handlers."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from . import cargo
from .payload import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .output import Outlet

_TEXT_CHARACTERS = (
    2000  # of a message and of a traceback, where shared memory has no room for the whole record
)
_formatter = logging.Formatter()


def dump_levels() -> dict[str, Any]:
    """Return the caller's levels: of each logger that has one, and what is disabled for all."""
    manager = logging.root.manager
    loggers = {
        name: (logger.level, logger.disabled)
        for name, logger in manager.loggerDict.copy().items()
        if isinstance(logger, logging.Logger) and (logger.level or logger.disabled)
    }
    return {"root": logging.root.level, "disable": manager.disable, "loggers": loggers}


def forward_logging(core: Any, outlet: Outlet, levels: Mapping[str, Any]) -> None:
    """Send every record that the caller's levels let through to the caller; no logger keeps its handlers."""
    root = logging.root
    known = [
        logger for logger in root.manager.loggerDict.copy().values() if isinstance(logger, logging.Logger)
    ]
    for logger in [root, *known]:  # under fork they are the caller's, files and all
        logger.handlers.clear()
        logger.propagate = True
    root.addHandler(_Forwarder(core, outlet))
    if not levels:
        return
    root.setLevel(levels["root"])
    logging.disable(levels["disable"])
    for name, (level, disabled) in levels["loggers"].items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.disabled = disabled


def handle_log(blob: bytes | memoryview) -> None:
    """Give a worker's record to the caller's logger of that name, if its level lets it through."""
    fields, extra = load(blob)
    with contextlib.suppress(Exception):  # of a class that only the worker has: the record comes without
        fields |= load(extra)
    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


class _Forwarder(logging.Handler):
    """The one handler of a worker."""

    def __init__(self, core: Any, outlet: Outlet) -> None:
        super().__init__()
        self._core = core
        self._outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record, after what was printed before it."""
        try:
            blob = _dump_record(record)
            self._outlet.flush()
            try:
                self._core.log(blob)
            except MemoryError:  # shared memory is full: less will do, in the message itself
                self._core.log(_dump_record(_shortened(record)))
        except Exception:  # noqa: BLE001 - a record that cannot be sent is logging's matter, not the task's
            self.handleError(record)


def _dump_record(record: logging.LogRecord) -> bytes:
    """Pickle what handlers may want of a record: the message merged, the traceback as text."""
    fields = dict(vars(record))
    fields["msg"], fields["args"] = record.getMessage(), None
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _formatter.formatException(record.exc_info)
    fields["exc_info"] = None
    plain = {name: value for name, value in fields.items() if isinstance(value, str | int | float | None)}
    extra = {name: value for name, value in fields.items() if name not in plain}
    try:
        blob = cargo.dump_whole(extra)
    except Exception:  # noqa: BLE001 - whatever the user has attached
        blob = cargo.dump_whole({name: repr(value) for name, value in extra.items()})
    return cargo.dump_whole((plain, blob))


def _shortened(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record without what the user attached, and with the middle of long texts cut out."""
    short = logging.LogRecord(
        record.name,
        record.levelno,
        record.pathname,
        record.lineno,
        record.getMessage(),
        None,
        None,
        record.funcName,
    )
    short.created, short.msecs, short.relativeCreated = record.created, record.msecs, record.relativeCreated
    short.thread, short.threadName = record.thread, record.threadName
    short.msg = cargo.shorten(short.msg, _TEXT_CHARACTERS)
    if trace := record.exc_text or (_formatter.formatException(record.exc_info) if record.exc_info else ""):
        short.exc_text = cargo.shorten(trace, _TEXT_CHARACTERS)
    return short
