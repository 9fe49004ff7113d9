"""Patches of blocks: what they do to the text, and that one which does not fit is refused and not guessed at."""

import difflib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.errors import Invalid
from perdure.memory.patch import Change, apply, changes_in

VALUE = "Name: Ada\nLikes tea\nLikes tea\nLives in Rome"
lines = st.lists(st.sampled_from(["a", "b", "c", "", " d", "-e", "+f", "@@", "*** g"]), max_size=12)
anything = st.text(st.sampled_from(" -+@*\\ab→1\n\r:"), max_size=80)


@pytest.mark.parametrize(
    ("patch", "wanted"),
    [
        ("-Name: Ada\n+Name: Bob", "Name: Bob\nLikes tea\nLikes tea\nLives in Rome"),
        (" Name: Ada\n-Likes tea", "Name: Ada\nLikes tea\nLives in Rome"),
        ("+Has a cat", f"{VALUE}\nHas a cat"),
        ("@@ -1 +1 @@\n-Name: Ada\n+Name: Bob\n@@\n Lives in Rome\n+Has a cat",
         "Name: Bob\nLikes tea\nLikes tea\nLives in Rome\nHas a cat"),
        ("--- human\n+++ human\n@@\n-Lives in Rome\n", "Name: Ada\nLikes tea\nLikes tea"),
        ("@@\r\n-Lives in Rome\r\n+Lives in Oslo\r\n\r\n", "Name: Ada\nLikes tea\nLikes tea\nLives in Oslo"),
    ],
)  # fmt: skip
def test_what_hunks_do(patch: str, wanted: str) -> None:
    assert apply(VALUE, patch) == wanted


def test_a_hunk_of_additions_fills_an_empty_block() -> None:
    assert apply("", "+one\n+\n+two") == "one\n\ntwo"


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("-Likes tea\n+Likes milk", "fits in several places, beginning on lines 2, 3"),
        ("-Name: Bob\n+x", r"Hunk 1 .* fits nowhere: the 1 line\(s\) it is about, from 'Name: Bob' on"),
        ("@@\n-Name: Ada\n@@\n-Name: Ada\n+x", "Two hunks of the patch overlap on line 1"),
        ("Name: Ada", "begins with none of the three marks"),
        (" Name: Ada", "changes nothing"),
        ("", "changes nothing"),
    ],
)
def test_what_does_not_fit_is_refused(patch: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        apply(VALUE, patch)


def unified(before: Sequence[str], after: Sequence[str]) -> str:
    return "\n".join(difflib.unified_diff(before, after, "human", "human", lineterm=""))


def refused(attempt: Callable[[], object]) -> str | None:
    """Why an attempt is refused; None where it is not."""
    try:
        attempt()
    except Invalid as error:
        return error.message
    return None


@given(lines.filter(any), lines)
def test_a_real_diff_leads_to_the_other_text_or_is_refused(before: list[str], after: list[str]) -> None:
    value, patch = "\n".join(before), unified(before, after)
    refusal = refused(lambda: apply(value, patch))
    assert (
        apply(value, patch) == "\n".join(after) if refusal is None else before == after or "several places" in refusal
    )


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True), st.data())
def test_a_real_diff_of_distinct_lines_always_fits(numbers: list[int], data: st.DataObject) -> None:
    before = [f"line {number}" for number in numbers]
    after = data.draw(st.lists(st.sampled_from([*before, "new", ""]), max_size=30))
    if before != after:
        assert apply("\n".join(before), unified(before, after)) == "\n".join(after)


@given(anything, anything)
def test_no_patch_does_anything_but_apply_or_be_refused(value: str, patch: str) -> None:
    for attempt in (lambda: apply(value, patch), lambda: [change.text for change in changes_in(patch) or ()]):
        assert len(refused(attempt) or "") < 1_000


def test_a_long_block_is_searched_quickly() -> None:
    value = "\n" * 100_000
    with pytest.raises(Invalid, match="several places"):
        apply(value, "\n".join([" "] * 50_000) + "\n-")


def test_the_headers_of_several_blocks() -> None:
    assert changes_in("@@\n-a\n+b") is None
    found = changes_in(
        "*** Begin Patch\n*** Add Block: plans\nDescription: What is next.\n+one\n+two\n\n"
        "*** Update Block: human\n*** Move to: person\n@@\n-a\n+b\n*** Delete Block: old\n\n*** End Patch\n"
    )
    assert found == [
        Change("add", "plans", ["+one", "+two"], description="What is next."),
        Change("update", "human", ["@@", "-a", "+b"], new_label="person"),
        Change("delete", "old", []),
    ]
    assert found[0].text == "one\ntwo"


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("+x\n*** Add Block: a", "stands before the first"),
        ("*** Add Block:", "needs the label"),
        ("*** Delete Block: a\n-x", "Nothing may follow"),
        ("*** Update Block: a\n-x\n*** Move to: b", "out of place"),
        ("*** Rename Block: a", "stands before the first"),
        ("*** Add Block: a\n*** Rename Block: b", "out of place"),
    ],
)
def test_headers_out_of_place(patch: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        changes_in(patch)
    with pytest.raises(Invalid, match="does not begin with"):
        _ = Change("add", "a", ["x"]).text
