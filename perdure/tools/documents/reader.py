"""Reading one document in the sandbox, whatever it does there."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import perdure
from perdure.domain.errors import Invalid, Unavailable
from perdure.domain.files import Form
from perdure.tools.documents.inside import bounds
from perdure.tools.documents.inside.read import NAME, REFUSED
from perdure.tools.sandbox.job import PYTHON, Finished, Job, Limits
from perdure.tools.sandbox.sandbox import Sandbox

LIMITS: Final = Limits(
    seconds=300.0, memory=2 << 30, disk=256 << 20, processes=8, output=1 << 16, result=bounds.TEXT_BYTES + 1
)
_INSIDE: Final = Path(__file__).parent / "inside"
_MAIN: Final = (
    f"import sys; sys.path.append({str(Path(perdure.__file__).parent.parent)!r}); "
    "from perdure.tools.documents.inside.read import main; main()"
)


class Reader:
    """Gets the text out of documents. Nothing of a document is trusted, its reader included."""

    def __init__(self, sandbox: Sandbox, limits: Limits = LIMITS) -> None:
        self._sandbox = sandbox
        self._limits = limits

    async def read(self, form: Form, pieces: AsyncIterator[bytes]) -> str:
        """The text of a document. Raises Invalid, saying why, where there is none to be had."""
        work = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="perdure-file-"))
        try:
            with (work / NAME).open("wb") as file:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
            return self._text(await self._sandbox.run(_job(form, work, self._limits)))
        except Unavailable as error:
            raise Invalid(f"It cannot be read safely here. {error.message}") from error
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, work, ignore_errors=True))

    def _text(self, done: Finished) -> str:
        match done.stopped:
            case "time":
                raise Invalid(f"Reading it took longer than {self._limits.seconds:g} seconds.")
            case "memory":
                raise Invalid(f"Reading it took more than {self._limits.memory >> 20} MiB of memory.")
            case "disk" | "output":
                raise Invalid("Reading it left too much behind.")
            case None:
                pass
        said = done.stderr.decode(errors="replace").strip()
        if done.code == REFUSED:
            raise Invalid(said or "It cannot be read.")
        if done.code != 0:
            # The last line of a traceback; what came before it is about our code, not about the document.
            why = said.rpartition("\n")[2][:200] or f"its reader ended with {done.code}"
            raise Invalid(f"It is damaged, or not what its name says ({why}).")
        return done.result.decode(errors="replace")


def _job(form: Form, work: Path, limits: Limits) -> Job:
    paths: tuple[Path, ...] = ()
    if form == "pdf":
        found = find_spec("pypdf")
        if found is None or found.origin is None:
            raise Invalid("PDFs are read by the package pypdf, which is not installed. Install it, and send it again.")
        paths = (Path(found.origin).parent,)
    argv = (PYTHON, "-I", "-S", "-c", _MAIN, form, *(str(path.parent) for path in paths))
    return Job(argv=argv, shown=(_INSIDE, *paths), work=work, limits=limits)
