"""Preference files: every kind, public schemas, verifiers, and all that may be wrong."""

import csv
import gzip
import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

import toymodel as tm
from toymodel.llm.data import load_pairs, load_questions, pair_of, read_pairs, verifiers
from toymodel.llm.data.hub import is_hub_name

ROWS = [
    {"prompt": "Is it? ", "chosen": "Yes.", "rejected": "No."},
    {"prompt": "Was it? ", "chosen": "Yes, it was.", "rejected": "No,\nit was not."},
]
USER = {"role": "user", "content": "Is it?"}
YES, NO = ({"role": "assistant", "content": text} for text in ("Yes.", "No."))


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def comma_separated(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def zipped(path, rows):
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path


def array(path, rows):
    path.write_text(json.dumps(rows, indent=1))
    return path


KINDS = {
    "pairs.jsonl": lines,
    "lines.json": lines,
    "pairs.json": array,
    "pairs.csv": comma_separated,
    "pairs.parquet": parquet,
    "pairs.jsonl.gz": zipped,
}


@pytest.mark.parametrize(("name", "write"), KINDS.items(), ids=KINDS)
def test_every_kind_of_file_holds_the_same_pairs(tmp_path, name, write):
    path = write(tmp_path / name, ROWS)
    assert load_pairs(path) == ROWS
    assert load_pairs(path, limit=1) == ROWS[:1]
    assert tm.llm.load_pairs is load_pairs


def test_parquet_holds_messages(tmp_path):
    row = {"prompt": [USER], "chosen": [YES], "rejected": [NO]}
    assert load_pairs(parquet(tmp_path / "pairs.parquet", [row])) == [row]


def test_a_prompt_that_is_implicit_is_the_common_beginning(tmp_path):
    rows = [
        {"chosen": "Is it? Yes.", "rejected": "Is it? No."},
        {"chosen": [USER, YES], "rejected": [USER, NO]},
        {"prompt": "Is it?", "chosen": [USER, YES], "rejected": [USER, NO]},
    ]
    text, *messages = load_pairs(lines(tmp_path / "pairs.jsonl", rows))
    assert text == {"prompt": "Is it?", "chosen": " Yes.", "rejected": " No."}
    assert messages == [{"prompt": [USER], "chosen": [YES], "rejected": [NO]}] * 2


@pytest.mark.slow
@given(st.text("ab ", max_size=8), st.text("xy ", max_size=4), st.text("xy ", max_size=4))
def test_the_implicit_prompt_is_trls(start, one, other):
    from trl.data_utils import extract_prompt

    example = {"chosen": f"q{start}c{one}", "rejected": f"q{start}r{other}"}
    from toymodel.llm.data.pairs import explicit

    assert explicit(example) == extract_prompt(example)


HH = "\n\nHuman: Is it?\n\nAssistant: Perhaps.\n\nHuman: Sure?\n\nAssistant:"


def test_hh_rlhf(tmp_path):
    folder = tmp_path / "hh"
    rows = [{"chosen": HH + " Yes.", "rejected": HH + " Yesterday."}]
    (folder / "harmless-base").mkdir(parents=True)
    zipped(folder / "harmless-base" / "train.jsonl.gz", rows)
    zipped(folder / "harmless-base" / "test.jsonl.gz", rows[:1] * 3)
    assert load_pairs(folder, "hh_rlhf") == [
        {"prompt": HH, "chosen": " Yes.", "rejected": " Yesterday."}
    ]
    assert len(load_pairs(folder, "hh_rlhf", "test")) == 3


def test_ultrafeedback(tmp_path):
    row = {
        "prompt": "Is it?",
        "prompt_id": "5" * 64,
        "chosen": [USER, YES],
        "rejected": [USER, NO],
        "messages": [USER, YES],
        "score_chosen": 8.5,
        "score_rejected": 7.0,
    }
    for part in ("train_prefs", "train_sft", "test_prefs"):
        parquet(tmp_path / f"{part}-00000-of-00001.parquet", [row] * (2 if "sft" in part else 1))
    assert load_pairs(tmp_path, "ultrafeedback") == [
        {"prompt": [USER], "chosen": [YES], "rejected": [NO]}
    ]
    (read,) = read_pairs(tmp_path, "ultrafeedback", "test")
    assert read.fields["score_chosen"] == 8.5
    assert read.place == "test_prefs-00000-of-00001.parquet:1"


def test_gsm8k(tmp_path):
    answer = "She has 16 - 3 = <<16-3=13>>13 eggs.\nThat is 13 * 100 = $1,300.\n#### 1,300"
    rows = [{"question": "How much?", "answer": answer}]
    (question,) = load_questions(lines(tmp_path / "train.jsonl", rows), "gsm8k")
    assert question.answer == "1300"
    assert question.prompt == "How much?"
    answers = ["It is 1,301.", "She has 13 eggs, so $1300.00", "#### 1300 (of 2)"]
    assert [question.matches(text) for text in answers] == [False, True, True]
    assert pair_of(question, answers) == {
        "prompt": "How much?",
        "chosen": answers[1],
        "rejected": answers[0],
    }
    assert pair_of(question, answers[1:]) is None
    assert pair_of(question, answers[:1]) is None


def test_math_as_a_folder_of_problems(tmp_path):
    for number, boxed in enumerate([r"\frac{3}{4}", "(-1,2]"]):
        problem = {
            "problem": f"Problem {number}?",
            "level": "Level 2",
            "type": "Algebra",
            "solution": rf"Since $x$, it is $\boxed{{{boxed}}}$.",
        }
        folder = tmp_path / "train" / "algebra"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.json").write_text(json.dumps(problem))
    first, second = load_questions(tmp_path, "math")
    assert first.matches(r"So $\boxed{\dfrac34}$, not 1.")
    assert first.matches(r"\boxed{3/4}")
    assert not first.matches("3/4")  # nothing is boxed
    assert not second.matches(r"\boxed{(-1,2)}")
    assert second.matches(r"\boxed{ ( -1 , 2 ] }")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\frac{1}{2}", r"\frac12"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        (r"90^\circ", "90"),
        (r"90^{\circ}", "90"),
        (r"x=7", "7"),
        (r"\sqrt2", r"\sqrt{2}"),
        (r"\$5.50", "5.5"),
        ("12\\,345", "12,345"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"3 \text{ inches}", "3"),
        (".5", "0.5"),
        ("-0.50", "-.5"),
        ("007", "7"),
    ],
)
def test_expressions_that_are_the_same(one, other):
    assert verifiers.normalised(one) == verifiers.normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "-1"), ("10", "1"), (r"\frac12", r"\frac21"), ("x+1", "x"), ("0.5", "5"), ("1,2", "12")],
)
def test_expressions_that_are_not(one, other):
    assert verifiers.normalised(one) != verifiers.normalised(other)


@given(st.text(r"\boxedfrac{}123 $,.-/^#="))
def test_verifiers_survive_any_text(text):
    verifiers.boxed(text)
    verifiers.final_number(text)
    once = verifiers.normalised(text)
    assert isinstance(once, str)


@given(st.integers(-(10**9), 10**9))
def test_numbers_are_read_in_every_spelling(number):
    assert verifiers.final_number(f"in all {number:,}.") == str(number)
    assert verifiers.marked_number(f"99\n#### {number}") == str(number)


DIRTY = {
    "a column missing": ({"prompt": "a", "chosen": "b"}, "missing: rejected"),
    "columns named otherwise": ({"question": "a"}, r"missing: chosen.*columns: question"),
    "an empty response": ({"prompt": "a", "chosen": " ", "rejected": "b"}, "chosen is empty"),
    "equal responses": ({"prompt": "a", "chosen": "b", "rejected": "b"}, "equal"),
    "an empty prompt": ({"prompt": "", "chosen": "b", "rejected": "c"}, "prompt is empty"),
    "nothing in common": ({"chosen": "b", "rejected": "c"}, "no common beginning"),
    "a number": ({"prompt": "a", "chosen": 3, "rejected": "c"}, "expected a text"),
    "mixed": ({"prompt": "a", "chosen": [YES], "rejected": "c"}, "one is a text"),
    "other messages": ({"chosen": [{"from": "me"}], "rejected": [NO]}, "role and content"),
    "no object": (["a", "b"], "a list, where an object"),
}


@pytest.mark.parametrize(("row", "message"), DIRTY.values(), ids=DIRTY)
def test_a_bad_row_is_named_and_the_others_survive(tmp_path, row, message):
    path = lines(tmp_path / "pairs.jsonl", [ROWS[0], row, ROWS[1]])
    with pytest.raises(tm.InputError, match=rf"(?s)^pairs.jsonl:2: .*{message}"):
        load_pairs(path)
    found = list(read_pairs(path))
    assert [pair.row for pair in found] == [ROWS[0], None, ROWS[1]]


def test_a_truncated_line_is_one_bad_row(tmp_path):
    path = lines(tmp_path / "pairs.jsonl", ROWS)
    path.write_text(path.read_text()[:-20])
    assert [pair.problem is None for pair in read_pairs(path)] == [True, False]


def test_csv_rows_of_another_width(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected\na,b,c\na,b\na,b,c,d\n")
    found = list(read_pairs(path))
    assert [pair.place for pair in found if pair.problem] == ["pairs.csv:3", "pairs.csv:4"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "Yes.", "rejected": "No."}, "no common beginning with turns"),
        ({"chosen": HH + " Yes.", "rejected": HH + " Yes."}, "equal"),
        ({"chosen": HH + " Yes.", "rejected": HH}, "rejected is empty"),
    ],
)
def test_bad_dialogues(tmp_path, row, message):
    with pytest.raises(tm.InputError, match=message):
        load_pairs(lines(tmp_path / "hh.jsonl", [row]), "hh_rlhf")


@pytest.mark.parametrize(
    ("schema", "row", "message"),
    [
        ("gsm8k", {"question": "a", "answer": "18"}, "no final answer after ####"),
        ("gsm8k", {"problem": "a"}, r"question: .*columns: problem"),
        ("math", {"problem": "a", "solution": "1"}, r"nothing in \\boxed"),
    ],
)
def test_bad_questions(tmp_path, schema, row, message):
    with pytest.raises(tm.InputError, match=rf"train.jsonl:1: .*{message}"):
        load_questions(lines(tmp_path / "train.jsonl", [row]), schema)


def broken_json(path):
    path.write_text('[{"prompt": "a", "ch')


def broken_parquet(path):
    path.write_bytes(parquet(path, ROWS).read_bytes()[:-30])


def broken_gzip(path):
    path.write_bytes(zipped(path, ROWS).read_bytes()[:-9])


BROKEN = {
    "pairs.json": (broken_json, "truncated at line 1, column 18"),
    "pairs.parquet": (broken_parquet, "broken or truncated"),
    "pairs.jsonl.gz": (broken_gzip, "cannot be read"),
    "pairs.txt": (lambda path: path.write_text("a"), "ending that says its kind"),
    "empty.jsonl": (lambda path: path.write_text("\n"), "there are none"),
    "number.json": (lambda path: path.write_text("3"), "a list of objects"),
    "latin.csv": (lambda path: path.write_bytes(b"prompt\n\xff"), "cannot be read"),
    "folder": (lambda path: path.mkdir(), "subfolder train"),
    "nowhere.jsonl": (lambda path: None, "nothing is there"),
}


@pytest.mark.parametrize(("name", "case"), BROKEN.items(), ids=BROKEN)
def test_files_that_are_refused(tmp_path, name, case):
    make, message = case
    make(tmp_path / name)
    with pytest.raises(tm.InputError, match=message):
        load_pairs(tmp_path / name)


def test_a_split_that_is_not_there(tmp_path):
    lines(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(tm.InputError, match="split 'train'"):
        load_pairs(tmp_path)
    assert load_pairs(tmp_path, split="test") == ROWS


def test_schemas_that_are_refused(tmp_path):
    path = lines(tmp_path / "pairs.jsonl", ROWS)
    with pytest.raises(tm.InputError, match="did you mean 'ultrafeedback'"):
        load_pairs(path, "ultrafedback")
    with pytest.raises(tm.InputError, match="load_questions reads them"):
        load_pairs(path, "gsm8k")
    with pytest.raises(tm.InputError, match="limit: got 0"):
        load_pairs(path, limit=0)


def test_names_of_the_hub(tmp_path, monkeypatch):
    import datasets

    asked = []

    def load_dataset(name, configuration, **options):
        asked.append((name, configuration, options["split"]))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    assert load_pairs("openai/pairs:main") == ROWS
    assert load_pairs("somebody/feedback", "ultrafeedback", limit=1) == ROWS[:1]
    assert asked == [("openai/pairs", "main", "train"), ("somebody/feedback", None, "train_prefs")]
    lines(tmp_path / "data" / "here" / "train.jsonl", ROWS)
    assert not is_hub_name("data/here")
    assert load_pairs("data/here") == ROWS


def test_a_set_that_the_hub_does_not_give(monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        raise ConnectionError("Couldn't reach it\nat all")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(tm.InputError, match=r"'no/such' cannot be had \(Couldn't reach it\)"):
        load_pairs("no/such")
