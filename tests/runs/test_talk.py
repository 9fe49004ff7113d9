"""Whose turn it is in a group: bounded whatever is said, and by the name that is said."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.agents import Agent
from perdure.domain.groups import Group
from perdure.domain.models import Model
from perdure.runs.talk import Talk

MODEL = Model(
    handle="perdure/offline", name="offline", provider_name="perdure", provider_type="perdure", endpoint_type="none",
    context_window=1000,
)  # fmt: skip


def agent(name: str) -> Agent:
    return Agent(
        id=f"agent-{name}", name=name, conversation_id="conv-1", system="", model=MODEL, context_window=1000,
        created_at=1, updated_at=1,
    )  # fmt: skip


def talk(kind: Any, members: list[Agent], **config: Any) -> Talk:
    group = Group(
        id="group-1", description="d", manager_type=kind, created_at=1, updated_at=1, manager_config=config,
        manager_agent_id="agent-Boss",
    )  # fmt: skip
    return Talk(group, members, agent("Boss"))


ANN, ANNABEL, BO = agent("Ann"), agent("Annabel"), agent("Bo")
SAID = st.lists(st.sampled_from(["Ann", "bo, please", "agent-Annabel", "nobody", "DONE!", "Annabel and Ann"]))


def test_the_first_who_is_named_speaks_and_else_who_was_silent_longest() -> None:
    members = [ANN, ANNABEL, BO]
    for said, speaker in (
        ("Annabel", ANNABEL), ("I say: ANN.", ANN), ("Not Annie, but bo!", BO), ("agent-Bo then Ann", BO), ("?", ANN),
    ):  # fmt: skip
        one = talk("dynamic", members)
        assert one.next() is one.manager
        assert one.manager is not None
        one.took(one.manager, said)
        assert one.next() is speaker
    one = talk("dynamic", members)
    for speaker in (ANN, ANNABEL, BO, ANN):
        assert one.manager is not None
        one.took(one.manager, "whoever")
        assert one.next() is speaker
        one.took(speaker, "me")


@given(SAID, st.integers(1, 7), st.sampled_from(["round_robin", "dynamic", "supervisor", "sleeptime"]))
def test_every_talk_ends(said: list[str], most: int, kind: str) -> None:
    one = talk(kind, [ANN, ANNABEL, BO], max_turns=most)
    left, turns = list(said), 0
    while (speaker := one.next()) is not None:
        one.took(speaker, left.pop(0) if left else "and so on")
        turns += 1
        assert turns <= 2 * most + 1
    if kind == "dynamic" and "DONE!" not in said:
        assert (turns, one.stop_reason) == (2 * most, "max_steps")
