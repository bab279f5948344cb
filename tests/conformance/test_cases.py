"""The case files themselves: that they are read as they are meant, and leave no rule out."""

from __future__ import annotations

import pytest

from .cases import Act, FormatError, all_cases, cut, octets, read, ways_to_cut, words

COUNTS = {"A": 7, "B": 6, "C": 8, "D": 8, "E": 4, "F": 10, "G": 7, "H": 5, "I": 5, "J": 6, "K": 5, "L": 11,
          "M": 4}
RULES = [f"{topic}{number}" for topic, count in COUNTS.items() for number in range(1, count + 1)]
"""All rules; they are spelled out at the heads of the case files."""

HEAD = "# X\n\n## A1. A rule\n\n### a case\n"


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_cases(rule: str) -> None:
    assert any(rule == case.rules[0] for case in all_cases())


def test_each_case_shows_known_rules() -> None:
    assert {rule for case in all_cases() for rule in case.rules} <= set(RULES)


def test_no_two_cases_of_a_file_have_the_same_name() -> None:
    names = [(case.where.partition(":")[0], case.rules[0], case.name) for case in all_cases()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("text", "expected"), [
    (r"a\r\n", b"a\r\n"),
    (r"\x00\xff\t\\\"", b"\x00\xff\t\\\""),
    ("é", "é".encode()),
    (r"\{a*3}b", b"aaab"),
    (r"\{1;\{a*2}\r\n*2}", b"1;aa\r\n1;aa\r\n"),
    (r"\\{a*3}", b"\\{a*3}"),
    (r"a\/b", b"a\xed\xb0\xafb"),
])
def test_octets(text: str, expected: bytes) -> None:
    assert octets(text) == expected


def test_words() -> None:
    assert words(r'200 close Allow="GET, \"\x00" X-A=absent content=""') == {
        "": b"200", "close": b"", "Allow": b'GET, "\x00', "X-A": None, "content": b""}


def test_a_case() -> None:
    document = HEAD + (
        "Prose about it.\n@ also B2\n@ limits fields=3\n> a\n> b\\!c\n< d\n! eof\n> e\n~ 200 close\n"
        "= head\n= violation 400\n* noted\n")
    case, = read(document, "x.case")
    assert (case.where, case.name, case.rules) == ("x.case:5", "a case", ["A1", "B2"])
    assert case.acts == [Act([(">", b"abc")], [b"d"]),
                         Act([("!", b"eof"), (">", b"e")], [{"": b"200", "close": b""}])]
    assert (case.sent, case.mark) == (b"abce", 2)
    assert (case.events, case.notes) == ([b"head", b"violation 400"], [b"noted"])
    assert (case.limits.fields, case.uncut, case.eof, case.on_wire) == (3, False, True, True)


def test_a_case_for_each_value() -> None:
    cases = list(read(HEAD + "> a\\?\n= head \\?\n? 1\n?\n? \\x20\n### another\n> b\n@ uncut\n<\n", "x.case"))
    assert [case.sent for case in cases] == [b"a1", b"a", b"a ", b"b"]
    assert [case.name for case in cases] == ["a case: 1", "a case: ", "a case: \\x20", "another"]
    assert [case.uncut for case in cases] == [False, False, False, True]
    assert cases[3].acts == [Act([(">", b"b")], [b""])]


@pytest.mark.parametrize("document", [
    HEAD + "> a \n= end\n",
    HEAD + ">a\n= end\n",
    HEAD + "> a\n% end\n",
    HEAD + "> \x85\n= end\n",
    HEAD + "> a\\q\n= end\n",
    HEAD + "> a\\\n= end\n",
    HEAD + "> a\\?\n= end\n",
    HEAD + "> a\n= end\n? b\n",
    HEAD + "> a\n",
    HEAD + "= end\n",
    HEAD + "> a\\!\n= end\n",
    HEAD + "> a\n~ 200  close\n",
    HEAD + "> a\n~ 200 content=\n",
    HEAD + "> a\n= end\n@ somehow\n",
    HEAD + "> a\n= end\n@ limits no_such=1\n",
    HEAD + "> a\n= end\n@ limits fields=many\n",
    "# X\n## A rule\n",
    "# X\n## A1. A rule\n> a\n= end\n",
    "# X\n### a case\n> a\n= end\n",
])
def test_what_is_no_case(document: str) -> None:
    with pytest.raises(FormatError):
        list(read(document, "x.case"))


def test_ways_to_cut() -> None:
    assert [cut(b"abcd", places) for places in ways_to_cut(4)] == [
        [b"a", b"bcd"], [b"ab", b"cd"], [b"abc", b"d"], [b"a", b"b", b"c", b"d"]]
    assert len(list(ways_to_cut(100_000))) <= 1001
