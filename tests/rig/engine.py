"""llama.cpp, really inferring, with a small model of random weights the tests make themselves."""

import hashlib
import json
from pathlib import Path

from tests.rig.install import CACHE, locked, python_with
from tests.rig.process import Process

WORKER = Path(__file__).resolve().parent / "workers" / "engine.py"
MODEL = "random"
CONTEXT = 32768
"""Tokens it was started with."""
PACKAGES = ("xllamacpp==2026.10.11549", "gguf==0.19.0")
SAYS_TOOL = "Use a tool, please."
"""What a user says to have the model call a tool. After a tool return, and to anything else, it babbles."""


class Engine:
    """The engine in its own process. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        recipe = hashlib.sha256(WORKER.read_bytes()).hexdigest()[:12]
        self.file = model = CACHE / "engine" / f"random-{recipe}.gguf"
        """The model, which stays when the engine has ended."""
        self.vectors_file = model.with_stem(f"{model.stem}-vectors")
        """One that makes vectors instead of talking."""
        self.talker_file = model.with_stem(f"{model.stem}-talker")
        """One that knows no tools."""
        model.parent.mkdir(parents=True, exist_ok=True)
        python = python_with("engine", *PACKAGES)
        with locked("engine-model"):
            self._process = Process([str(python), str(WORKER), str(model), str(CONTEXT)], folder / "engine.log")
            try:
                self.url = str(json.loads(self._process.line_with('"url"'))["url"])
            except BaseException:
                self._process.end()
                raise

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs in its environment to use this engine."""
        return {"LLAMACPP_BASE_URL": self.url}
