"""What is read of a GGUF file before llama.cpp is let near it: whatever is wrong is named, with what to do."""

import contextlib
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.providers.gguf import GgufError, read_gguf
from perdure.providers.local import too_large

LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "tokenizer.ggml.tokens": ["a", "b", ""],
    "tokenizer.ggml.scores": [0.5, 1.5],
    "llama.context_length": 4096,
    "llama.embedding_length": 64,
    "tokenizer.chat_template": "{{ messages }}",
}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def valued(value: Any) -> bytes:
    """A value with its type before it."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return struct.pack(f"<IIQ{len(value)}f", 9, 6, len(value), *value)


def gguf(fields: dict[str, Any], version: int = 3, weights: int = 8) -> bytes:
    """A file with one tensor of so many bytes."""
    head = b"GGUF" + struct.pack("<IQQ", version, 1, len(fields))
    described = b"".join(text(name) + valued(value) for name, value in fields.items())
    return head + described + text("w") + struct.pack("<IQIQ", 1, 2, 0, 0) + bytes(weights)


def written(folder: Path, content: bytes, name: str = "m.Q4_K_M.gguf") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def why(path: Path) -> str:
    with pytest.raises(GgufError) as raised:
        read_gguf(path)
    return str(raised.value)


def test_a_model_tells_what_it_is(tmp_path: Path) -> None:
    found = read_gguf(written(tmp_path, gguf(LLAMA)))
    assert (found.kind, found.name, found.architecture) == ("chat", "m.Q4_K_M", "llama")
    assert (found.trained, found.width, found.has_template) == (4096, 64, True)
    plain = read_gguf(written(tmp_path, gguf({"general.architecture": "llama"})))
    assert (plain.trained, plain.has_template) == (0, False)


@pytest.mark.parametrize("more", [{"general.architecture": "nomic-bert"}, {"llama.pooling_type": 3}])
def test_a_model_for_vectors_is_told_from_one_that_talks(more: dict[str, Any], tmp_path: Path) -> None:
    assert read_gguf(written(tmp_path, gguf({**LLAMA, **more}))).kind == "embedding"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a GGUF file"),
        (b"PK\x03\x04 not a model", "is not a GGUF file"),
        (b"GGUF\x00\x00\x00\x03" + bytes(100), "of a version of GGUF that is not known"),
        (b"GGUF" + b"\x03\x00\x00\x00" + b"\xff" * 100, "is damaged"),
        (gguf({**LLAMA, "general.type": "mmproj"}), "looks at images"),
        (gguf({"general.architecture": "clip"}), "looks at images"),
        (gguf({**LLAMA, "general.type": "adapter"}), "holds no model but a adapter"),
        (gguf({**LLAMA, "llama.pooling_type": 4}), "reranker"),
        (gguf({**LLAMA, "split.no": 0, "split.count": 2}), "has to keep its name: …-00001-of-00002.gguf"),
    ],
)
def test_what_cannot_be_run_says_why(content: bytes, says: str, tmp_path: Path) -> None:
    assert says in why(written(tmp_path, content))


def test_a_model_in_several_files_wants_the_first_and_all_of_them(tmp_path: Path) -> None:
    first, second = (gguf({**LLAMA, "split.no": number, "split.count": 2}) for number in (0, 1))
    path = written(tmp_path, first, "big-00001-of-00002.gguf")
    assert "beside it these are missing: big-00002-of-00002.gguf" in why(path)
    assert "give the first, big-00001-of-00002.gguf" in why(written(tmp_path, second, "big-00002-of-00002.gguf"))
    big = read_gguf(path)
    assert (big.name, big.size) == ("big", len(first) + len(second))
    assert too_large(big, big.size) is None
    assert too_large(big, None) is None
    assert "Choose a smaller one" in str(too_large(big, big.size - 1))


def test_a_directory_and_nothing_at_all(tmp_path: Path) -> None:
    assert "no GGUF file is in it" in why(tmp_path)
    written(tmp_path, gguf(LLAMA))
    assert "name one of the files in it, such as m.Q4_K_M.gguf" in why(tmp_path)
    assert "cannot be read: No such file" in why(tmp_path / "none.gguf")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(at=st.integers(0, len(gguf(LLAMA, weights=0))), noise=st.binary(max_size=6))
def test_a_file_cut_anywhere_or_garbled_is_an_error_and_never_a_crash(at: int, noise: bytes, tmp_path: Path) -> None:
    whole = gguf(LLAMA, weights=0)
    assert why(written(tmp_path, whole[:at]))
    garbled = whole[:at] + noise + whole[at + len(noise) :] + bytes(8)
    with contextlib.suppress(GgufError):
        read_gguf(written(tmp_path, garbled))
