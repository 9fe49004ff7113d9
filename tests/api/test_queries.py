"""Queries of lists, in the words of both generations."""

from typing import Any

import pytest

from perdure.api.queries import AgentPageQuery, AgentQuery, BlockQuery, ToolQuery
from perdure.store.pages import Page


@pytest.mark.parametrize(
    ("said", "ascending"),
    [
        ({}, False),
        ({"ascending": True}, True),
        ({"order": "asc"}, True),
        ({"order": "desc", "ascending": True}, False),
        ({"order": "asc", "ascending": False}, True),
    ],
)
def test_the_newer_word_for_the_order_wins(said: dict[str, Any], ascending: bool) -> None:
    assert AgentPageQuery(**said).page() == Page(ascending=ascending)


def test_the_newer_word_for_the_sort_wins() -> None:
    assert AgentPageQuery().sort() == "created_at"
    assert AgentPageQuery(sort_by="updated_at").sort() == "updated_at"
    assert AgentPageQuery(sort_by="updated_at", order_by="last_run_completion").sort() == "last_run_completion"


def test_filters_are_handed_on() -> None:
    agents = AgentQuery(tags=["a"], match_all_tags=True, identifier_keys=["k"], show_hidden_agents=True).filter()
    assert (agents.tags, agents.match_all_tags, agents.identifier_keys, agents.show_hidden) == (
        ("a",),
        True,
        ("k",),
        True,
    )
    blocks = BlockQuery(connected_to_agents_count_gt=1, connected_to_agents_count_eq=[2], name="t").filter()
    assert (blocks.agents_more_than, blocks.agents_exactly, blocks.name) == (1, (2,), "t")
    tools = ToolQuery(tool_ids=[], names=["n"], return_only_letta_tools=True).filter()
    assert (tools.ids, tools.names, tools.built_in_only) == ((), ("n",), True)
