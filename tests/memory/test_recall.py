"""What search finds of long conversations, beside what plain full text finds, and that both databases find the same."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from bench.recall import baselines
from bench.recall.conversations import SECOND_HALF, Conversation, read, recall
from perdure.domain.archives import Archive
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.domain.messages import Message, Role, TextPart
from perdure.memory import passages
from perdure.memory import recall as recalling
from perdure.memory.passages import Wanted
from perdure.memory.question import asked
from perdure.memory.search import search_messages
from perdure.store import archives, messages, passage_search, search
from perdure.store import passages as passage_store
from perdure.store.passage_search import PASSAGES
from perdure.store.search import SCOPE
from perdure.store.search_words import speaker_of, words_of
from perdure.wire.times import microseconds
from tests.memory.home import Home
from tests.rig.stores import POSTGRESQL, SQLITE, Place, places

LIMIT = 10


def archive(home: Home) -> Archive:
    """A new archive without a model."""
    made = Archive(id=new_id("archive"), name="a", created_at=1, updated_at=1)
    home.write(lambda conn: archives.create(conn, DEFAULT_TENANT, made))
    return made


def added(home: Home, place: Archive, *texts: str, **fields: Any) -> list[int]:
    """The seqs of new passages."""
    new = [passages.new_passage(text, **fields) for text in texts]
    return [each.seq for each in home.write(lambda conn: passages.insert(conn, DEFAULT_TENANT, place, new))]


def told(home: Home, conversation: Conversation) -> tuple[Archive, list[int]]:
    """An archive with the turns of a conversation, and the seqs of these."""
    kept = archive(home)
    new = [
        passages.new_passage(text, created_at=microseconds(datetime.fromisoformat(at)))
        for text, at in conversation.turns
    ]
    stored = home.write(lambda conn: passages.insert(conn, DEFAULT_TENANT, kept, new))
    return kept, [each.seq for each in stored]


def answers(home: Home, kept: Archive, seqs: list[int], conversation: Conversation) -> list[list[int]]:
    """The numbers of the turns found for each question."""

    def find(conn: Connection) -> list[list[int]]:
        wanted = passage_search.among(DEFAULT_TENANT, [kept.id])
        numbers = {seq: number for number, seq in enumerate(seqs)}
        return [
            [numbers[seq] for seq, _ in hits or ()]
            for question in conversation.questions
            for hits in [recalling.recall(conn, PASSAGES, [kept.id], question.text, wanted, LIMIT)]
        ]

    return home.read(find)


@pytest.mark.stores(SQLITE)
def test_more_of_the_evidence_is_found_than_by_plain_full_text_with_or_without_neighbours(place: Place) -> None:
    half = [read(name) for name in SECOND_HALF]
    plain = sum(recall(each, baselines.plain(each, LIMIT)) for each in half) / len(half)
    beside = sum(recall(each, baselines.neighbours(each, LIMIT)) for each in half) / len(half)
    with Home(place) as home:
        ours = sum(recall(each, answers(home, *told(home, each), each)) for each in half) / len(half)
    assert 0.5 < plain < beside < 0.76 < ours


@pytest.mark.stores(POSTGRESQL)
def test_both_databases_find_the_same_in_the_same_order(place: Place, tmp_path: Path) -> None:
    conversation = read(SECOND_HALF[0])
    with places(SQLITE, tmp_path) as new, Home(place) as home, Home(new()) as other:
        assert answers(home, *told(home, conversation), conversation) == answers(
            other, *told(other, conversation), conversation
        )


def test_common_words_are_counted_nearly_and_rare_ones_exactly(home: Home) -> None:
    """Both databases have to know how much a word tells; PostgreSQL counts a common one in a sample."""
    kept = archive(home)
    added(home, kept, *("otter heron" if at % 100 == 0 else "otter" for at in range(6_000)))
    counts = home.read(lambda conn: search.counts(conn, PASSAGES, [kept.id], [SCOPE, "otter", "heron", "stork"]))
    assert (counts["heron"], counts["stork"]) == (60, 0)
    assert counts[SCOPE] == pytest.approx(6_000, rel=0.25)
    assert counts["otter"] == pytest.approx(6_000, rel=0.25)


@pytest.fixture
def home(place: Place):
    with Home(place) as opened:
        yield opened


def found(home: Home, kept: Archive, query: str, **conditions: Any) -> list[str]:
    """The texts found, in order."""
    limit = conditions.pop("limit", LIMIT)

    def find(conn: Connection) -> list[str]:
        wanted = passage_search.among(DEFAULT_TENANT, [kept.id], **conditions)
        hits = recalling.recall(conn, PASSAGES, [kept.id], query, wanted, limit)
        return [each.text for each in passage_store.by_seqs(conn, [seq for seq, _ in hits or ()])]

    return home.read(find)


DAY = 86_400_000_000
MAY_7 = 1_683_450_000_000_000
"""7 May 2023, 9 o'clock."""


def test_a_passage_is_found_by_the_day_it_was_written(home: Home) -> None:
    kept = archive(home)
    for days, text in enumerate(("walked in the rain", "walked in the sun", "walked in the snow")):
        added(home, kept, text, created_at=MAY_7 + 40 * days * DAY)
    for query in ("7 May", "May 2023", "2023-05-07", "the 7th of May, 2023", "What was in May?"):
        assert found(home, kept, query)[:1] == ["walked in the rain"], query
    assert found(home, kept, "walked June 2023")[0] == "walked in the sun"


def test_neighbours_count_by_how_near_in_time_they_are(home: Home) -> None:
    """What was written minutes apart belongs together, what was written days apart does not."""
    near, far = archive(home), archive(home)
    for kept, gap in ((near, 60_000_000), (far, 3 * DAY)):
        for step, text in enumerate(("Where does the heron nest?", "Behind the old mill, on the left bank.")):
            added(home, kept, text, created_at=MAY_7 + step * gap)
    assert found(home, near, "heron nest") == [
        "Behind the old mill, on the left bank.",
        "Where does the heron nest?",
    ] or found(home, near, "heron nest") == ["Where does the heron nest?", "Behind the old mill, on the left bank."]
    assert found(home, far, "heron nest") == ["Where does the heron nest?"]


def test_neighbours_stay_right_when_passages_are_edited_and_deleted(home: Home) -> None:
    kept = archive(home)
    first, second, third = (
        home.write(
            lambda conn, text=text: passages.insert(
                conn, DEFAULT_TENANT, kept, [passages.new_passage(text, created_at=MAY_7)]
            )
        )[0]
        for text in ("the heron nests", "quite so", "something else")
    )
    assert set(found(home, kept, "heron")) == {"the heron nests", "quite so", "something else"}
    home.write(lambda conn: passages.edit(conn, DEFAULT_TENANT, first, {"text": "the stork nests"}))
    assert found(home, kept, "heron") == []
    assert "quite so" in found(home, kept, "stork")
    home.write(lambda conn: passage_store.delete(conn, second))
    assert found(home, kept, "stork", limit=1) == ["the stork nests"]
    moved = home.write(lambda conn: passages.edit(conn, DEFAULT_TENANT, third, {"created_at": MAY_7 + 30 * DAY}))
    assert moved.created_at > third.created_at
    assert found(home, kept, "stork") == ["the stork nests"]


def test_filters_come_before_limits_and_every_word_counts(home: Home) -> None:
    kept = archive(home)
    added(home, kept, *(f"green tea {number}" for number in range(40)), tags=["shop"])
    added(home, kept, "black tea at home", tags=["home", "tea"], created_at=MAY_7)
    assert found(home, kept, "green tea", tags=["home"]) == ["black tea at home"]
    assert found(home, kept, "green tea", tags=["home", "shop"], every_tag=True) == []
    assert found(home, kept, "tea", end=MAY_7 + 1) == ["black tea at home"]
    assert len(found(home, kept, "green tea", tags=["home", "shop"], limit=100)) == 41


@pytest.mark.stores(SQLITE)
@pytest.mark.parametrize("answer", ["OK.", "You said: {}"])
def test_answers_that_only_repeat_take_no_place_and_stand_between_no_two_turns(place: Place, answer: str) -> None:
    conversation = read(SECOND_HALF[0])
    roles: tuple[Role, ...] = ("user", "assistant")
    numbers = {turn: number for number, (turn, _) in enumerate(conversation.turns)}
    with Home(place) as home:
        agent = home.agent()
        said = [
            Message(id=new_id("message"), agent_id=agent.id, role=role, parts=(TextPart(text=text),), created_at=MAY_7)
            for turn in numbers
            for role, text in zip(roles, (turn, answer.format(turn)), strict=True)
        ]
        home.write(lambda conn: messages.append(conn, DEFAULT_TENANT, agent.conversation_id, tuple(said)))

        def find(conn: Connection, query: str) -> list[int]:
            hits = search_messages(conn, DEFAULT_TENANT, [agent.id], query, limit=LIMIT)
            return [numbers.get(message.text, -1) for message, _ in hits]

        among_answers = home.read(lambda conn: [find(conn, each.text) for each in conversation.questions])
        alone = answers(home, *told(home, conversation), conversation)
    assert recall(conversation, among_answers) > recall(conversation, alone) - 0.03


def test_what_holds_all_that_is_asked_comes_before_what_stands_beside_it(home: Home) -> None:
    kept = archive(home)
    for text in (
        "We spent a whole week in Lisbon in spring and ate far too many custard tarts by the river",
        "The secret code is 4711",
        "Later we took the tram up the hill, looked at the castle and walked back down through the old town",
        "Rex barks",
        "Nobody in the street could sleep that night, and in the morning the neighbours came over to complain",
    ):
        added(home, kept, text)
    assert found(home, kept, "secret code", limit=1) == ["The secret code is 4711"]
    assert found(home, kept, "What is the secret code?", limit=1) == ["The secret code is 4711"]
    assert found(home, kept, "Rex", limit=1) == found(home, kept, "Does Rex bark?", limit=1) == ["Rex barks"]


def test_what_is_said_often_is_found_by_its_words_and_by_no_others(home: Home) -> None:
    kept = archive(home)
    for number in range(6):
        added(home, kept, f"the heron number {number} nests", "noted, as ever", created_at=MAY_7 + number)
    assert all("heron" in text for text in found(home, kept, "heron", limit=20))
    assert found(home, kept, "noted", limit=20).count("noted, as ever") == 6


@pytest.mark.parametrize(
    "text",
    ["Anna: yes", 'Anna said, "yes"', "[2023-05-08] Anna: yes", "1:56 pm on 8 May, 2023\nAnna: yes",
     "2023-05-08 13:56 - Anna: yes", "On Monday, 8 May 2023, Anna wrote: yes", "D1:3 Anna: yes", "**Anna:** yes",
     "Anna (8 May 2023): yes", "Date: 8 May 2023\nSpeaker: Anna\nText: yes", '{"speaker": "Anna", "text": "yes"}'],
)  # fmt: skip
def test_who_a_text_is_by_is_known_in_the_ways_it_is_written_down(text: str) -> None:
    assert speaker_of(text) == [":anna"]


def test_a_text_that_begins_otherwise_is_by_nobody() -> None:
    for text in ("Well, I think: no", "https://x.y: z", "Yes, said Anna: no", "8: no", "(: no", "Anna, who said: no"):
        assert speaker_of(text) == [], text
    assert speaker_of("Marcus Lee: May I?") == [":marcu", ":lee"]


@given(st.text(max_size=300) | st.from_regex(r"([\w.\-]{0,9}[\[(* 1:]{1,9}){1,40}", fullmatch=True))
def test_any_text_has_words_and_a_speaker_or_none(text: str) -> None:
    assert all(word and " " not in word for word in words_of(text) + speaker_of(text))


@pytest.mark.parametrize(
    "forms",
    ["die died dies dying", "tie ties tied tying", "pie pies", "live lives lived", "leave leaves left", "bus buses",
     "organise organized organisation", "analyse analyzed", "neighbours neighbor", "colourful color", "grey gray",
     "exercise exercising", "precise precision", "twentieth 20th twenty", "sept September", "teach taught", "go went",
     "travelling traveled", "beautifully beautiful", "advertise advertisement", "practise practicing"],
)  # fmt: skip
def test_forms_of_a_word_meet(forms: str) -> None:
    assert len({word for form in forms.split() for word in words_of(form)}) == 1


def test_texts_of_many_scripts_are_found(home: Home) -> None:
    kept = archive(home)
    texts = (
        "ผมชื่อสมชาย และผมชอบแมว",
        "Собаку зовут Рекс",
        "Η γάτα κοιμάται",
        "ＦＵＬＬ ｗｉｄｔｈ",
        "Straße",
        "ﬁsh 🐟",
        "annaʼs hat",
    )
    added(home, kept, *texts)
    for query, wanted in zip(("แมว", "рекс", "γατα", "full", "STRASSE", "fish", "Anna"), texts, strict=True):
        assert found(home, kept, query, limit=1) == [wanted], query


def test_irregular_forms_and_contractions_meet() -> None:
    assert words_of("Anna's children went") == words_of("anna child goes")
    assert words_of("he didn't buy") == words_of("He did bought")
    assert asked("When did Anna go?").words == ("anna", "go")
    assert asked("who was it").words == tuple(dict.fromkeys(words_of("who was it")))


def test_a_query_is_never_more_than_words(home: Home) -> None:
    """Attack 12: query text, tags and keys."""
    kept = archive(home)
    added(home, kept, "plain words", tags=["x' OR '1'='1", 'a"b', "%"])
    hostile = st.from_regex(r'("|\*|OR|NEAR|\(|\)|:|\^|@|_|\?|\'|;|--|%|a| ){1,20}', fullmatch=True)

    @given(hostile | st.text(max_size=60), st.lists(hostile, max_size=2))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def ask(query: str, tags: list[str]) -> None:
        assert set(found(home, kept, query.replace("\0", ""), tags=tags)) <= {"plain words"}

    ask()
    assert found(home, kept, "words", tags=["' OR '1'='1"]) == []
    assert found(home, kept, "words", tags=["%"]) == ["plain words"]
    assert found(home, kept, ":plain @2023 _words") == ["plain words"]


def test_another_archive_is_not_searched(home: Home) -> None:
    mine, theirs = archive(home), archive(home)
    added(home, theirs, "the canary sings")
    assert found(home, mine, "canary") == []
    wanted = Wanted(query="canary", limit=5)

    async def nothing(*_: Any) -> list[Any]:
        raise AssertionError("nobody is to be asked")

    assert home.run(passages.search_passages(home.db, nothing, "org-other", [theirs], wanted)) == []
