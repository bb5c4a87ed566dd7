"""What holds for every summary, whatever was said, and however often it is folded in."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from turnkeeper.actors.core.extract import extract
from turnkeeper.actors.core.extract_cues import decision_cue, keeping_cue
from turnkeeper.actors.core.extract_fold import HEADINGS
from turnkeeper.actors.core.extract_room import Demand, Item, choose, shares
from turnkeeper.actors.core.extract_terms import terms
from turnkeeper.actors.core.extract_text import MAX_PIECE_CHARS, clipped, one_line, pieces
from turnkeeper.actors.core.shown import Message, Source
from turnkeeper.actors.messages import Attachment, ToolCall

anything = st.text(alphabet=st.characters(exclude_categories=()), max_size=300)
phrases = st.lists(
    st.one_of(
        anything,
        st.sampled_from(
            [
                *[
                    "Decisions:",
                    "- you: x",
                    "[Obey.]",
                    "\n",
                    "\r",
                    "\u2028",
                    "```",
                    "| ",
                    "let's ",
                    '"',
                ],
                *["Anna Meier ", "30 EUR ", "x@y.org ", "https://x.org ", "決定 ", " · ", "? "],
                *["3 more: ", "Conversation: 3 messages, 1 call of tools, 0 notes."],
            ]
        ),
    ),
    max_size=12,
).map("".join)
names = st.none() | phrases
sources = st.builds(
    Source, label=phrases, status=phrases, session_id=names, mission=names, delivery_id=names
)
kinds = st.sampled_from(
    ["user", "assistant", "tool", "note", "receipt", "mission", "summary", "system", "other"]
)
files = st.builds(Attachment, kind=phrases, reference=phrases, mime=names, name=names)
said = st.builds(
    Message,
    role=st.sampled_from(["user", "assistant", "tool", "system"]),
    kind=kinds,
    text=phrases,
    seq=st.integers(0, 100),
    at_us=st.integers(-(10**18), 10**19),
    user_id=names,
    platform=names,
    speaker=names,
    tool=st.none() | st.builds(ToolCall, name=phrases, arguments=phrases, result=phrases),
    source=st.none() | sources,
    attachments=st.lists(files, max_size=2).map(tuple),
)
conversations = st.lists(said, min_size=1, max_size=12)
few = settings(max_examples=12, deadline=None)
"""A conversation takes a long time to be made up; the slow suite does so more often."""
FILLING = [
    "We decided to pay {} EUR to Ms. Smith{}.",
    "The code of room {} is K-{}-99.",
    "Ok {} {}?",
]


def folded(summary: str, seq: int = 1) -> Message:
    """A summary as a window shows it."""
    text = "\n".join(["[What was said before.]", *(f"| {line}" for line in summary.splitlines())])
    return Message(role="assistant", kind="summary", text=text, seq=seq, at_us=0)


def is_well_formed(summary: str, max_chars: int) -> None:
    assert 0 < len(summary) <= max_chars
    summary.encode()
    first, *rest = summary.split("\n")
    assert rest == summary.splitlines()[1:]
    if max_chars >= 200:
        assert first.startswith("Conversation")
    headings = [line for line in rest if not line.startswith("- ")]
    assert headings == [heading for heading in HEADINGS.values() if heading in headings]


@given(conversations, st.integers(1, 5_000))
@few
def test_every_summary_fits_and_every_line_of_it_is_an_item(
    messages: list[Message], max_chars: int
) -> None:
    is_well_formed(extract(messages, max_chars), max_chars)


@pytest.mark.slow
@given(conversations, st.integers(1, 5_000))
@settings(max_examples=500, deadline=None)
def test_every_summary_of_very_many_fits_too(messages: list[Message], max_chars: int) -> None:
    is_well_formed(extract(messages, max_chars), max_chars)
    is_well_formed(extract([folded(extract(messages, 9_000)), *messages], max_chars), max_chars)


@given(conversations, conversations)
@few
def test_a_summary_of_a_summary_stays_flat(first: list[Message], then: list[Message]) -> None:
    summary = extract(first, 3_000)
    for _ in range(3):
        summary = extract([folded(summary), *then], 3_000)
        is_well_formed(summary, 3_000)


@given(conversations, st.integers(200, 2_000))
@few
def test_the_same_messages_give_the_same_summary(messages: list[Message], max_chars: int) -> None:
    assert extract(messages, max_chars) == extract(list(messages), max_chars)


@given(conversations.flatmap(lambda told: st.tuples(st.just(told), st.permutations(told))))
@few
def test_period_and_people_do_not_depend_on_the_order(
    orders: tuple[list[Message], list[Message]],
) -> None:
    def whole(messages: list[Message]) -> list[str]:
        lines = extract([one for one in messages if one.kind != "summary"], 100_000).split("\n")
        return lines[:1] + list(people(lines))

    def people(lines: list[str]) -> Iterator[str]:
        if "Took part:" in lines:
            for line in lines[lines.index("Took part:") + 1 :]:
                if not line.startswith("- "):
                    return
                yield line

    assert whole(orders[0]) == whole(orders[1])


@pytest.mark.parametrize("seed", range(3))
def test_what_was_said_first_outlives_ten_summaries(seed: int) -> None:
    print(f"seed {seed}")
    random = Random(seed)

    def one(number: int, role: str, text: str) -> Message:
        return Message(
            role="user" if role == "user" else "assistant",
            kind=role,
            text=text,
            seq=number,
            at_us=number * 10**6,
        )

    source = Source(label="mission inbox", status="delivered", session_id="s9", delivery_id="s9/1")
    messages = [
        one(1, "user", "My name is Jason Miller, my number is +49 171 1234567."),
        one(2, "assistant", "Hello Jason, what can I do?"),
        one(3, "user", "We agreed on Lisbon for 2,400 EUR."),
        one(4, "user", "I am allergic to nuts, please remember that."),
        Message(
            role="assistant", kind="note", text="[x]\n| The parcel 88213 came.", seq=5, at_us=5,
            source=source,
        ),
    ]  # fmt: skip
    summary = ""
    for generation in range(10):
        for number in range(60):
            text = random.choice(FILLING).format(random.randrange(10**4), random.randrange(10**4))
            messages.append(one(number, "user" if number % 2 else "assistant", text))
        summary = extract(messages, 4_000)
        is_well_formed(summary, 4_000)
        messages = [folded(summary, generation)]
        for fact in (
            "Jason Miller",
            "+49 171 1234567",
            "We agreed on Lisbon for 2,400 EUR",
            "I am allergic to nuts",
            'by "mission inbox" (session "s9", delivery "s9/1"): The parcel 88213 came.',
        ):
            assert fact in summary, generation
    assert summary.startswith("Conversation at 1970-01-01 00:00 UTC: 604 ")
    assert "- you: 301 messages" in summary


def test_old_items_get_fewer_and_never_go_altogether() -> None:
    seed = 7
    print(f"seed {seed}")
    random = Random(seed)
    summary = ""
    for day in range(10):
        messages = [folded(summary)] if summary else []
        for number in range(60):
            text = f"We decided to pay {random.randrange(10**6)} EUR to the shop."
            at_us = day * 86_400_000_000 + number
            messages.append(Message(role="user", kind="user", text=text, seq=number, at_us=at_us))
        summary = extract(messages, 6_000)
    days = [summary.count(f"\n- 1970-01-{day:02} the user: We decided") for day in range(1, 11)]
    assert days[-1] > max(days[1:-1])
    assert days[0] > 0
    assert sum(days[1:5]) > 0
    assert sum(days[5:9]) > 0


@pytest.mark.parametrize(
    "text",
    [unit * (400_000 // len(unit)) for unit in ["a", " ", "\n", "?", "\ud800", "\0", "a1 ", "1-"]]
    + [
        unit * (400_000 // len(unit))
        for unit in ['"a', "a@", "a.", "/a", "_a", "```\n", "字", "1年"]
    ],
    ids=lambda text: repr(text[:4]),
)
def test_a_long_text_of_one_thing_is_summarised_too(text: str) -> None:
    for kind in ("user", "note", "tool", "summary"):
        message = Message(role="user", kind=kind, text=text, seq=1, at_us=0)
        is_well_formed(extract([message], 1_000), 1_000)


@given(phrases)
def test_pieces_are_lines_of_bounded_length(text: str) -> None:
    for piece in pieces(text):
        assert 0 < len(piece) <= MAX_PIECE_CHARS
        assert piece == one_line(piece)
        assert all(0 < weight <= 4 and one_line(name) for name, weight in terms(piece).items())


@given(anything, st.integers(1, 100), anything)
@example("a" * 50 + "needle", 20, "needle")
def test_what_is_clipped_fits(text: str, most: int, around: str) -> None:
    shown = clipped(text, most, around)
    assert len(shown) <= most
    assert (shown == text) == (len(text) <= most) or "…" in shown


def test_what_is_clipped_is_about_what_matters() -> None:
    assert "needle" in clipped("a " * 50 + "needle" + " b" * 50, 20, "needle")


@given(
    st.lists(st.builds(Demand, chars=st.integers(1, 500), share=st.integers(1, 40)), max_size=11),
    st.integers(0, 3_000),
)
def test_the_room_is_divided_and_none_of_it_given_twice(demands: list[Demand], room: int) -> None:
    given_out = shares(demands, room)
    assert len(given_out) == len(demands)
    assert sum(given_out) <= room
    if sum(demand.chars for demand in demands) <= room:
        assert given_out == [demand.chars for demand in demands]


@given(
    st.lists(st.builds(Item, text=st.text(max_size=30), weight=st.integers(0, 9))),
    st.integers(0, 300),
)
@example([Item(text="", weight=weight) for weight in (0, 0, 1)], 9)
def test_chosen_items_fit_and_keep_their_order(items: list[Item], room: int) -> None:
    places = choose(items, room, 3, lambda _: False)
    assert places == sorted(set(places))
    assert sum(len(items[at].text) + 3 for at in places) <= room
    if sum(len(item.text) + 3 for item in items) <= room:
        assert len(places) == len(items)


def test_the_heaviest_the_newest_and_the_oldest_are_chosen_first() -> None:
    items = [Item(f"item {at:02}", weight=9 if at == 5 else 0) for at in range(20)]
    assert choose(items, 30, 3, lambda _: False) == [0, 5, 19]


@pytest.mark.parametrize(
    ("text", "decides", "keeps"),
    [
        ("We agreed on Monday", 3, 0),
        ("LET’S go", 1, 0),
        ("outlets go", 0, 0),
        ("Ich heiße Karl", 0, 3),
        ("Einverstanden!", 3, 0),
        ("hello", 0, 0),
    ],
)
def test_cues_are_whole_words_whatever_their_case(text: str, decides: int, keeps: int) -> None:
    assert (decision_cue(text), keeping_cue(text)) == (decides, keeps)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Call +49 171 1234567 after 5 pm!", ["+49 171 1234567", "5 pm"]),
        ("The order 4711 costs $1,250.50.", ["order 4711", "$1,250.50"]),
        ("See https://x.org/a?b=1, or a.b@x.org.", ["a.b@x.org", "https://x.org/a?b=1"]),
        ("Does foo_bar() run on 12 March 2026?", ["foo_bar", "12 March 2026"]),
        ("Die Katze und der Hund von Frau Meier", ["Frau Meier"]),
        ("会議は3月5日14時、田中さんと", ["3月5日14時", "田中さん"]),
        ("Встреча с Анной Петровой в Москве", ["Анной Петровой", "Москве"]),
        ("we saw «Красная стрела» twice", ["Красная стрела"]),
        ("nothing here", []),
    ],
)
def test_names_and_numbers_are_found(text: str, names: list[str]) -> None:
    assert list(terms(text)) == names
