"""What a job is given, what comes of it, and that it ends when it is told to."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from perdure.domain.errors import Unavailable
from perdure.tools.sandbox.job import PYTHON, Job, Limits
from perdure.tools.sandbox.sandbox import Sandbox
from tests.rig.server import ROOT
from tests.tools.sandbox.attacks import MARK, left_running

Value = TypeVar("Value")

RUNS_FOR_EVER = Job(argv=(PYTHON, "-I", "-S", "-c", "import os, time; os.fork(); time.sleep(60)", MARK))


def python(source: str, *arguments: str, **fields: Any) -> Job:
    return Job(argv=(PYTHON, "-I", "-S", "-c", source, *arguments), **fields)


def within(limit: float, awaitable: Awaitable[Value]) -> Value:
    async def wait() -> Value:
        return await asyncio.wait_for(awaitable, limit)

    return asyncio.run(wait())


def test_a_job_has_what_it_was_given_and_its_result_is_no_part_of_what_it_prints(tmp_path: Path):
    tmp_path.chmod(0o755)
    (tmp_path / "shown.txt").write_text("shown")
    ours, theirs = socket.socketpair()
    source = (
        "import os, socket, sys\n"
        "print(sys.stdin.read(), open('a/b.txt').read(), open(sys.argv[1]).read(), os.environ['GIVEN'])\n"
        "print('\\x01forged', file=sys.stderr)\n"
        "socket.socket(fileno=4).send(b'hello')\n"
        "os.write(3, b'result'); raise SystemExit(7)"
    )
    job = python(
        source, str(tmp_path / "shown.txt"), stdin=b"read", files={"a/b.txt": b"laid"},
        environment={"GIVEN": "given"}, channel=theirs, shown=(tmp_path,),
    )  # fmt: skip
    with ours, theirs:
        done = within(20, Sandbox(tmp_path / "data").run(job))
        assert ours.recv(5) == b"hello"
    assert (done.code, done.result, done.stopped) == (7, b"result", None)
    assert done.stdout == b"read laid shown given\n"
    assert done.stderr == b"\x01forged\n"


def test_a_job_can_work_in_a_directory_of_the_servers(tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    done = within(20, Sandbox(tmp_path / "data").run(python("open('made', 'w').write('x')", work=work)))
    assert done.code == 0
    assert (work / "made").read_text() == "x"


def test_cancelling_ends_all_processes_of_a_job_at_once(tmp_path: Path):
    async def cancelled() -> float:
        sandbox = Sandbox(tmp_path / "data")
        await sandbox.choice()
        task = asyncio.create_task(sandbox.run(RUNS_FOR_EVER))
        while len(left_running()) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        started = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return time.monotonic() - started

    assert within(20, cancelled()) < 2
    assert left_running() == []


def test_without_a_way_code_is_refused_and_with_unsafe_tools_it_runs(tmp_path: Path):
    # The interpreter's own directory is shown to every job, so no data may lie in it.
    data = Path(PYTHON).parent / "data"
    with pytest.raises(Unavailable, match="PERDURE_UNSAFE_TOOLS"):
        within(20, Sandbox(data).run(python("")))
    assert within(20, Sandbox(data, unsafe=True).run(python("print(1)"))).stdout == b"1\n"


def test_a_time_limit_ends_a_job(tmp_path: Path):
    job = python("import time; time.sleep(60)", limits=Limits(seconds=0.3))
    assert within(20, Sandbox(tmp_path / "data").run(job)).stopped == "time"


def test_nothing_of_a_job_outlives_a_killed_server(tmp_path: Path):
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from perdure.tools.sandbox.job import PYTHON, Job\n"
        "from perdure.tools.sandbox.sandbox import Sandbox\n"
        "source = 'import os, time; os.fork(); time.sleep(60)'\n"
        "job = Job(argv=(PYTHON, '-I', '-S', '-c', source, sys.argv[1]))\n"
        "asyncio.run(Sandbox(Path(sys.argv[2])).run(job))\n"
    )
    server = subprocess.Popen([sys.executable, "-c", program, MARK, str(tmp_path / "data")], cwd=ROOT)
    try:
        wait_until(lambda: len(left_running()) >= 3)
    finally:
        server.kill()
        server.wait()
    wait_until(lambda: left_running() == [])


def wait_until(condition: Callable[[], bool], limit: float = 20.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)
