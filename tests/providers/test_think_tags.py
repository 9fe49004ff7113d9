from hypothesis import given
from hypothesis import strategies as st

from perdure.providers.base import ReasoningDelta, TextDelta
from perdure.providers.think_tags import ThinkTags
from tests.providers.chat import KINDS, STOP, chunk, deltas, fragment, shape

PIECES = ("<think>", "</think>", "[THINK]", "[/THINK]", "<", "<th", "</thi", "think>", "\n\n", " ", "a", "Hm. ", "</")


def sorted_out(*pieces: str) -> tuple[str, str]:
    """Thoughts and answer of a text that comes in these pieces."""
    tags, found = ThinkTags(), list[tuple[str, str]]()
    for piece in pieces:
        found += tags.feed(piece)
    found += tags.flush()
    assert all(text for _, text in found)
    assert [kind for kind, _ in found] == sorted(kind for kind, _ in found), "thoughts come first"
    thoughts, answer = ("".join(text for kind, text in found if kind == wanted) for wanted in ("reasoning", "text"))
    return thoughts, answer


def test_thoughts_come_first_or_not_at_all() -> None:
    assert sorted_out("<think>\nHm.</think>\n\nYes.") == ("\nHm.", "Yes.")
    assert sorted_out("\n<think>Hm.</think>Yes. <think>no</think>") == ("Hm.", "Yes. <think>no</think>")
    assert sorted_out("[THINK]Hm.[/THINK]Yes.") == ("Hm.", "Yes.")
    assert sorted_out("<think></think>\n\nYes.") == ("", "Yes.")
    assert sorted_out("Yes <think>no</think>") == ("", "Yes <think>no</think>")
    assert sorted_out("<think>Hm. </thin") == ("Hm. </thin", "")
    assert sorted_out("  <thi") == ("", "  <thi")
    assert sorted_out("<thinker> is a word") == ("", "<thinker> is a word")


@given(st.lists(st.sampled_from(PIECES)).map("".join), st.data())
def test_it_does_not_matter_how_the_text_is_cut(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = sorted_out(text)
    assert sorted_out(*pieces) == whole == sorted_out(*text)
    if not text.lstrip().startswith(("<think>", "[THINK]")):
        assert whole == ("", text)


def test_thoughts_in_the_text_of_local_models_are_reasoning() -> None:
    said = [chunk({"content": piece}) for piece in ("<thi", "nk>", "Hm", ".</th", "ink>\n", "\nYes", " <think>")]
    got = deltas(*said, STOP, kind=KINDS["vllm"])
    assert got[:5] == [
        ReasoningDelta("Hm"), ReasoningDelta("."), TextDelta("Yes"), TextDelta(" <think>"), got[-1]
    ]  # fmt: skip
    assert shape(deltas(*said, STOP, kind=KINDS["openai"]))[0] == "<thi"


def test_what_looked_like_a_tag_is_not_lost() -> None:
    call = {"tool_calls": [fragment("{}", index=0, id="c1", name="add")]}
    kept = [chunk({"content": "<th"}), chunk(call), STOP]
    assert shape(deltas(*kept, kind=KINDS["vllm"])) == ["<th", (0, "c1", "add", ""), (0, None, None, "{}")]
    told_apart = [chunk({"reasoning_content": "Hm."}), chunk({"content": "<think>x"}), STOP]
    assert shape(deltas(*told_apart, kind=KINDS["vllm"])) == ["Hm.", "<think>x"]
    assert shape(deltas(chunk({"content": "<think>So"}), chunk({"content": " far"}), STOP, kind=KINDS["vllm"])) == [
        "So", " far"
    ]  # fmt: skip
