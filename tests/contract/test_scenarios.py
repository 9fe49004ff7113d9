"""Where each of the contract's forty scenarios of an agent's life is tested, so that none is lost in a clean-up."""

import importlib
from typing import Final

SCENARIOS: Final = {
    1: ("test_answers:test_s01_text_in_step_mode",),
    2: ("test_answers:test_s02_text_in_token_mode", "test_frames:test_s68_the_stream_equals_history"),
    3: ("test_older_agents:test_s61_the_voice_in_token_mode",),
    4: ("test_older_agents:test_s62_the_voice_as_calls",),
    5: ("test_memory:test_scenario_05_the_next_request_shows_an_edit",),
    6: ("test_memory:test_scenarios_06_and_07_refused_edits_go_on",),
    7: ("test_memory:test_scenarios_06_and_07_refused_edits_go_on",),
    8: ("test_custom_tools:test_scenario_8_and_9_a_failing_tool_is_an_error_and_what_it_prints_is_shown",),
    9: ("test_custom_tools:test_scenario_8_and_9_a_failing_tool_is_an_error_and_what_it_prints_is_shown",),
    10: ("test_custom_tools:test_scenario_10_long_output_is_cut_with_a_note_and_results_cannot_be_forged",),
    11: ("test_custom_tools:test_scenario_11_a_tool_that_hangs_ends_in_time_and_the_server_is_well",),
    12: ("test_custom_tools:test_scenario_12_a_tool_reads_the_agents_secrets_and_its_own_ids",),
    13: ("test_custom_tools:test_scenario_13_a_tool_edits_a_block_through_agent_state",),
    14: ("test_custom_tools:test_scenario_14_packages_are_installed_once_and_only_as_wheels",),
    15: (
        "test_tool_calls:test_s13_three_parallel_calls_in_step_mode",
        "test_custom_tools:test_scenario_15_tools_that_may_run_side_by_side",
    ),
    16: ("test_tool_calls:test_s15_two_calls_where_parallel_is_off",),
    17: ("test_tool_rules:test_17_the_first_tool_is_forced",),
    18: ("test_tool_rules:test_18_a_call_that_may_not_follow_is_not_run",),
    19: ("test_tool_rules:test_19_the_return_picks_what_follows",),
    20: ("test_tool_rules:test_20_a_tool_is_gone_after_its_count",),
    21: ("test_tool_rules:test_s18_what_is_required_comes_before_the_end",),
    22: ("test_tool_rules:test_s17_a_terminal_tool_ends_the_turn",),
    23: (
        "test_approvals:test_s36_a_call_that_needs_approval_in_step_mode",
        "test_approvals:test_s44_a_message_while_an_approval_is_pending",
    ),
    24: ("test_approvals:test_s39_approved", "test_approvals:test_s40_denied"),
    25: ("test_approvals:test_s46_the_same_answer_again",),
    26: ("test_approvals:test_s41_a_tool_of_the_callers_own",),
    27: ("test_tool_calls:test_s16_max_steps",),
    28: ("test_cancel:test_s47_while_tokens_flow",),
    29: (
        "test_provider_failures:test_s24_a_rate_limit",
        "test_provider_failures:test_s29_the_provider_fails_in_step_2",
    ),
    30: ("test_compaction:test_s58_a_call_that_overflows",),
    31: ("test_compaction:test_s59_a_step_that_leaves_no_room_told",),
    32: ("test_scenarios_dialects:test_a_thought_before_a_call_is_shown_to_the_model_again_word_for_word",),
    33: ("test_scenarios_dialects:test_redacted_reasoning_is_told_and_survives_a_restart",),
    34: ("test_answers:test_s04_thinking_then_text",),
    35: (
        "test_archives:test_scenario_35_passages_are_inserted_and_searched_with_tags",
        "test_archives:test_scenario_35_a_shared_archive_is_seen_by_two_agents",
    ),
    36: ("test_files:test_scenario_36",),
    37: (
        "test_conversations:test_37_conversations_do_not_see_each_other",
        "test_conversations:test_37_an_isolated_block_is_written_in_its_conversation_alone",
    ),
    38: ("test_sleeptime:test_scenario_38_the_fifth_request_lets_the_companion_work",),
    39: ("test_agent_files:test_scenario_39_an_agent_moves_to_an_empty_server",),
    40: ("test_following:test_s53_a_background_client_that_leaves",),
}
"""By their numbers in section 12 of the facts about the runtime."""


def test_every_scenario_has_its_test() -> None:
    assert list(SCENARIOS) == list(range(1, 41))
    for number, tests in SCENARIOS.items():
        for module, name in (test.split(":") for test in tests):
            assert callable(getattr(importlib.import_module(f"tests.contract.{module}"), name)), number
