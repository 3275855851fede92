from __future__ import annotations

import pytest
from gbnf import GrammarError, lark_of


def rules(grammar: str) -> list[str]:
    return lark_of(grammar).splitlines()


def test_rules_that_do_not_hold_themselves_are_terminals() -> None:
    assert rules('root ::= animal+\nanimal ::= "cat" | "dog"') == [
        "start: R0",
        "R0: (R1+)",
        'R1: "cat" | "dog"',
    ]


def test_rules_that_hold_themselves_are_not() -> None:
    assert rules('root ::= "(" inner ")"\ninner ::= root | end\nend ::= "x"') == [
        "start: r0",
        'r0: "(" r1 ")"',
        "r1: r0 | R2",
        'R2: "x"',
    ]


def test_a_rule_goes_on_over_lines_until_the_next_begins() -> None:
    assert len(rules('root ::= "a" # one\n  | "b"\n  | c\nc ::= "c"')) == 3


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[a-z]", r"/[\u{61}-\u{7a}]/"),
        ("[^a]", r"/[^\u{61}]/"),
        (r"[\]\-a]", r"/[\u{5d}\u{2d}\u{61}]/"),
        ("[-a]", r"/[\u{2d}\u{61}]/"),
        ("[a-]", r"/[\u{61}\u{2d}]/"),
        (r"[\x00-\x1F]", r"/[\u{0}-\u{1f}]/"),
        (r"[\U0001F600]", r"/[\u{1f600}]/"),
        ("[/]", r"/[\u{2f}]/"),
        (".", "/(?s:.)/"),
        (r'"\"\n"', r'"\"\n"'),
        ('""', '""'),
        ('"a"{2,}', '("a"{2,})'),
        ('"a"{3}', '("a"{3,3})'),
        ('"a"+?', '(("a"+)?)'),
        ('("a" "b")*', '(("a" "b")*)'),
    ],
)
def test_every_part_has_its_counterpart(written: str, expected: str) -> None:
    assert rules(f"root ::= {written}")[1] == f"R0: {expected}"


@pytest.mark.parametrize(
    ("grammar", "problem"),
    [
        ("", "no rule `root`"),
        ("rot ::= 1", "no rule `root`|uses the rule"),
        ("root ::= other", "uses the rule 'other'"),
        ("root = 1", "cannot be read from"),
        ('start: "yes" | "no"', "expected llama.cpp's form, as in: root ::="),
        ('root ::= "a', "cannot be read from"),
        ("root ::= (", "a closing parenthesis"),
        ("root ::= )", "is not a rule"),
        ("root ::= *", "something to repeat"),
        ("root ::= []", "empty set"),
        ("root ::= [z-a]", "ends before it begins"),
        ('root ::= "a"{5,1}', "at least 5 and at most 1"),
        ('root ::= "a"{10001}', "repeats something 10001 times"),
        ('root ::= "a"{99999999999999999999}', "10000 are possible"),
        ("root ::= " + "(" * 101 + '"a"' + ")" * 101, "nested deeper than 100"),
        ("root ::= " + '"a" ' * 100_001, "symbols, 100000 are possible"),
        (r'root ::= "\UFFFFFFFF"', "is no character"),
    ],
)
def test_what_is_no_grammar_or_too_large_is_refused(grammar: str, problem: str) -> None:
    with pytest.raises(GrammarError, match=problem):
        lark_of(grammar)
