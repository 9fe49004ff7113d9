"""Loads the server's program, then forks a process that runs it whenever one is asked for.

Asked over a socket with JSON, `{"arguments", "environment", "folder"}`, and three files: those for the child's output
and errors, and a socket on which its id is told, and in the end its exit code. Children that are left are killed with
it.
"""

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from typing import Any

from perdure.cli import main
from perdure.serving import WARM

LOADED = (
    *WARM, "perdure.cli.serve", "perdure.tools.mcp.session", "perdure.store.postgres", "perdure.store.sqlite",
    "asyncpg", "sqlalchemy.dialects.postgresql.asyncpg", "sqlalchemy.dialects.sqlite",
    "uvicorn.protocols.http.httptools_impl",
)  # fmt: skip
"""What every server loads sooner or later."""
MOST = 1 << 20
"""Bytes of what is asked, at most."""


def serve(asked: socket.socket) -> None:
    """Fork what is asked for. Returns in each child, and ends this process once nobody can ask any more."""
    children: dict[int, socket.socket] = {}
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, _heard)
    with asked, woken, wake, selectors.DefaultSelector() as selector:
        for source in (asked, woken):
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    woken.recv(100)
                    _tell_of_ends(children)
                elif _is_child(asked, children):
                    return


def _heard(*_: object) -> None:
    """Nothing: that a signal came is read from the file it wakes."""


def _is_child(asked: socket.socket, children: dict[int, socket.socket]) -> bool:
    """Take one request. True in the process that was forked for it."""
    request, files, _, _ = socket.recv_fds(asked, MOST, 3)
    if not request:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        sys.exit()
    *outputs, teller = files
    told = socket.socket(fileno=teller)
    pid = os.fork()
    if not pid:
        for each in (told, *children.values()):
            each.close()
        _become(json.loads(request), outputs)
        return True
    for output in outputs:
        os.close(output)
    children[pid] = told
    _tell(told, pid)
    return False


def _tell_of_ends(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with children.pop(pid) as told:
            _tell(told, os.waitstatus_to_exitcode(status))


def _tell(told: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # whoever asked is gone
        told.send(b"%d" % number)


def _become(wanted: dict[str, Any], outputs: list[int]) -> None:
    """What a process started with these arguments would be."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, stream)
        os.close(output)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv[1:] = wanted["arguments"]


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    # The collector would walk what is loaded at the start and end of each child, and so copy all of it.
    gc.freeze()
    assert threading.active_count() == 1, "a process with threads cannot be forked safely"
    serve(socket.socket(fileno=int(sys.argv[1])))
    faulthandler.enable()
    main()
