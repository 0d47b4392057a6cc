"""Log handlers of the program that raise."""

import logging
import threading

import pytest
from support.pairs import run

from syncws.threaded.guarded_logger import GuardedLogger


class Raising(logging.Handler):
    def __init__(self, error):
        super().__init__()
        self.error = error
        self.count = 0

    def handle(self, record):
        self.count += 1
        raise self.error


@pytest.fixture
def logger():
    logger = logging.getLogger("test.guarded")
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_what_a_handler_raises_is_printed_and_ends_there(logger, capsys):
    handler = Raising(ZeroDivisionError("by the handler"))
    logger.addHandler(handler)
    run(GuardedLogger(logger).warning, "hello").result()
    assert handler.count == 1
    assert "ZeroDivisionError: by the handler" in capsys.readouterr().err


def test_nothing_is_printed_where_logging_is_not_to_complain(logger, capsys, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.addHandler(Raising(ZeroDivisionError()))
    run(GuardedLogger(logger).warning, "hello").result()
    assert capsys.readouterr().err == ""


def test_output_that_fails_is_no_reason_either(logger, monkeypatch):
    class Broken:
        def write(self, text):
            raise OSError

    logger.addHandler(Raising(ZeroDivisionError()))
    for stderr in (Broken(), None):
        monkeypatch.setattr("sys.stderr", stderr)
        run(GuardedLogger(logger).warning, "hello").result()


def test_a_thread_is_not_ended_by_a_handler(logger, capsys):
    logger.addHandler(Raising(SystemExit(3)))
    run(GuardedLogger(logger).warning, "hello").result()
    assert "SystemExit: 3" in capsys.readouterr().err


class GreenletExit(BaseException):
    """What ends a green thread."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, GreenletExit, TimeoutError, SystemExit])
def test_what_is_raised_in_the_main_thread_may_be_a_signal_handlers(logger, error):
    assert threading.current_thread() is threading.main_thread()
    logger.addHandler(Raising(error()))
    with pytest.raises(error):
        GuardedLogger(logger).warning("hello")


def test_what_ends_green_threads_ends_them(logger):
    logger.addHandler(Raising(GreenletExit()))
    with pytest.raises(GreenletExit):
        run(GuardedLogger(logger).warning, "hello").result()


def test_records_name_the_line_that_logs_and_have_all_attributes(logger, caplog):
    guarded = GuardedLogger(logger, {"first": 1})
    guarded.warning("by method", extra={"second": 2})
    guarded.log(logging.WARNING, "by log()")
    guarded.exception("with a traceback")
    for record in caplog.records:
        assert record.filename == "test_guarded_logger.py"
        assert record.funcName == "test_records_name_the_line_that_logs_and_have_all_attributes"
        assert record.first == 1
    assert caplog.records[0].second == 2
