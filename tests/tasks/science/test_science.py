"""Multiple choice: data split by subject, the harness's prompts, letters with reasons, practice, likelihood."""

import collections
import importlib.util
import itertools
import json
from pathlib import Path

import pytest
from jinja2 import Environment

from mass_jax.adapt.run import offered
from mass_jax.tasks import download
from mass_jax.tasks.base import MALFORMED, OffersChoices, Practice, StatesAnswer
from mass_jax.tasks.science import data, form, letters, prompts
from mass_jax.tasks.science.domain import Science
from mass_jax.tasks.science.form import Question
from mass_jax.tasks.science.task import ScienceTask

QUESTION = Question("What do plants take up?", ("oxygen ", "A. carbon dioxide", "iron", "fat"), "college biology")
ROW = {"question": "Which one?", "choices": ["w", "x", "y", "z"], "answer": 2, "type": "astronomy"}


def rows(each: int = 4) -> list[dict]:
    """Questions of every subject, under the field that either form of the data has."""
    words = itertools.count()
    return [
        ROW | {"question": f"What is number {next(words)}?", "type": subject.replace("_", " " if i % 2 else "_")}
        for subject in data.SUBJECTS
        for i in range(each)
    ]


def write(path: Path, some: list[dict]) -> str:
    path.write_text("\n".join(map(json.dumps, some)))
    return str(path)


def chat(messages: list[dict[str, str]]) -> str:
    return "".join(f"<{each['role']}>{each['content']}</>" for each in messages) + "<assistant>"


def test_subjects_are_families_that_no_two_splits_share(tmp_path: Path):
    config = Science(name="science", source=write(tmp_path / "all.jsonl", rows()), test_problems=6)
    found = {split: config.load(split) for split in ("train", "validation", "test")}
    families = {split: [problem.family for problem in some] for split, some in found.items()}
    assert [len(set(each)) for each in families.values()] == [9, 3, 6]
    assert sorted(itertools.chain(*map(set, families.values()))) == [*range(18)]
    for each in families.values():
        assert set(collections.Counter(each[: len(set(each))]).values()) == {1}, "the first are of all subjects"
    assert config.load("pretrain") == () and config.most("test") == 6
    other = Science(name="science", source=config.source, seed=1)
    assert {problem.family for problem in other.load("test")} != set(families["test"])
    problem = found["train"][0]
    assert problem.prompt.startswith(f"Subject: {data.SUBJECTS[problem.family].replace('_', ' ')}\nWhat is number ")
    assert problem.solution == " C" and Science(name="science", source=config.source, form="chat").load("train")[
        0
    ].solution == ("C")


def test_what_training_repeats_of_the_test_is_left_out(tmp_path: Path):
    splits = data.split_subjects(0, 3, 6)
    of = {split: [row for row in rows() if row["type"].replace(" ", "_") in own] for split, own in splits.items()}
    copied = of["test"][0] | {"type": of["train"][0]["type"]}
    source = write(tmp_path / "all.jsonl", [*of["train"], copied, *of["validation"], *of["test"]])
    assert len(data.problems(source, "train", splits, 0)) == len(of["train"])
    assert len(data.problems(source, "test", splits, 0)) == len(of["test"])


BROKEN = {
    "{": "line 1 is not JSON",
    "[1]": "line 1 of .* is not an object with fields",
    json.dumps(ROW | {"type": None}): "has no question and subject that are text",
    json.dumps(ROW | {"question": " "}): "has no question and subject that are text",
    json.dumps(ROW | {"choices": ["w"]}): "has no list of 2 to 10 choices that are text",
    json.dumps(ROW | {"choices": ["w", 3]}): "has no list of 2 to 10 choices that are text",
    json.dumps(ROW | {"choices": ["w", " "]}): "has no list of 2 to 10 choices that are text",
    json.dumps(ROW | {"choices": "wxyz"}): "has no list of 2 to 10 choices that are text",
    json.dumps(ROW | {"answer": 4}): "has the answer 4, which is none of its 4 choices",
    json.dumps(ROW | {"answer": "E"}): "has the answer 'E', which is none of its 4 choices",
    json.dumps(ROW | {"answer": True}): "has the answer True, which is none of its 4 choices",
    json.dumps(ROW | {"type": "law"}): "has no question of MMLU's STEM subjects, such as astronomy",
}


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_of_the_data_is_a_sentence(tmp_path: Path, line: str):
    (tmp_path / "test.jsonl").write_text(line)
    with pytest.raises(ValueError, match=BROKEN[line]):
        data.load(str(tmp_path), "test")


def test_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"has none of test.jsonl, test.parquet, .*: give the folder of MMLU's files"):
        data.load(str(tmp_path), "test")
    with pytest.raises(ValueError, match=r"examples for prompts are MMLU's dev questions; .* or task.shots = 0"):
        data.load(write(tmp_path / "mine.jsonl", [ROW]), "dev")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist([ROW | {"answer": 3}])
    parquet.write_table(table, tmp_path / "dev-00000-of-00001.parquet")
    assert data.load(str(tmp_path), "dev")[0].letter == "D"

    def unreachable(address: str, timeout: int) -> None:
        raise OSError("no network")

    monkeypatch.setattr(data, "FOLDER", tmp_path)
    monkeypatch.setattr(download.urllib.request, "urlopen", unreachable)
    with pytest.raises(ConnectionError, match=r"huggingface.co.* \(no network\): .* its folder or path as task.source"):
        data.load("public", "test")
    with pytest.raises(ValueError, match="has 1 questions of the STEM subjects instead of 90: it has changed"):
        data.load("public", "dev")


def test_a_question_is_read_as_it_is_written():
    assert form.read(QUESTION.whole) == QUESTION and QUESTION.letters == "ABCD"
    plain = QUESTION._replace(subject="", text="A. is a letter, and so is\nB. too:")
    assert form.read(plain.whole) == plain
    for text in ("", "What?", "What?\nA. one", "What?\nA. one\nC. two", "A. one\nB. two", "Subject: x\nA. one\nB. two"):
        with pytest.raises(ValueError, match=r"a question is a text and its choices, 2 to 10 lines"):
            form.read(text)


READ = {
    "B": "B",
    " b.": "B",
    "(B)": "B",
    "B. carbon dioxide": "B",
    "B) carbon dioxide\n\nA and C are wrong.": "B",
    "**B**: carbon dioxide": "B",
    "B\nA plant needs it.": "B",
    "B because A is wrong": "B",
    "Answer: C": "C",
    "The correct answer is **D. fat**.": "D",
    "The answer is option (A).": "A",
    r"So the answer is $\boxed{\text{C}}$": "C",
    "A plant takes up gas. Therefore, the answer is: B": "B",
    "A": "A",
    "A and A": "A",
}
UNREAD = {
    "": "no letter: expected one of A to D, read ''",
    "carbon dioxide": "no letter",
    "A plant takes up gas.": "no letter",
    "I think so": "no letter",
    "Vitamin C": "no letter",
    "The answer is a matter of taste.": "no letter",
    "Because of CO2": "no letter",
    "\x00": "no letter",
    "B " * 20_000: "",
    "answer " * 5_000: "no letter",
    "answer" + " " * 19_000 + "x": "no letter",
    "x" * 100: f"no letter: expected one of A to D, read '{'x' * 60}...'",
    "A or B": "two letters or more: A, B",
    "B, C": "two letters or more: B, C",
    "B. The answer is C.": "two letters or more: B, C",
    "The answer is B. No, the answer is A.": "two letters or more: A, B",
    "E": "E is not among the choices A to D",
    "The answer is (F).": "F is not among the choices A to D",
}


@pytest.mark.parametrize("text", [*READ, *UNREAD], ids=lambda text: repr(text[:40]))
def test_the_letter_of_an_answer_or_why_there_is_none(text: str):
    problem = data.problem(data.Asked(QUESTION, "B", "college_biology"), " ")
    (verdict,) = ScienceTask().grade([problem], [text])
    found = letters.read(text, "ABCD")
    assert verdict.judged and verdict.correct == (READ.get(text) == "B" or text.startswith("B B"))
    if text in READ:
        assert found.letter == READ[text] and verdict.reason == (
            f"{found.letter} {'is' if verdict.correct else 'is not'} the answer"
        )
    elif UNREAD[text]:
        assert verdict.reason.startswith(UNREAD[text]) and not found.letter, found


def test_an_unknown_answer_is_not_judged():
    task = ScienceTask()
    (verdict,) = task.grade([task.problem(QUESTION.whole)], ["B"])
    assert not verdict.judged and verdict.reason == "no answer is known"


def test_prompts_are_the_harnesss_own(tmp_path: Path):
    yaml, found = pytest.importorskip("yaml"), importlib.util.find_spec("lm_eval")
    if found is None or found.origin is None:
        pytest.skip("lm-eval is not installed")
    folder = Path(found.origin).parent / "tasks/mmlu/default"
    template = yaml.safe_load((folder / "_default_template_yaml").read_text())
    assert template["doc_to_choice"] == [*"ABCD"] and "target_delimiter" not in template
    for subject in data.SUBJECTS:
        told = yaml.safe_load((folder / f"mmlu_{subject}.yaml").read_text())
        (asked,) = data.load(write(tmp_path / "mine.jsonl", [ROW | {"type": subject}]), "test")
        text = Environment().from_string(template["doc_to_text"]).render(**ROW)
        head = told["description"]
        assert ScienceTask().solve_prompt(asked.question.whole) == head + text
        shots = {subject.replace("_", " "): [(asked.question, "C")]}
        assert ScienceTask(shots=shots).solve_prompt(asked.question.whole) == f"{head}{text} C\n\n{text}"
        said = f"<system>{head}</><user>{text}</><assistant>C</><user>{text}</><assistant>"
        assert ScienceTask(chat, shots=shots).solve_prompt(asked.question.whole) == said
    group = {
        path.stem.removeprefix("mmlu_") for path in folder.glob("mmlu_*.yaml") if "mmlu_stem_tasks" in path.read_text()
    }
    assert group - {"anatomy"} == set(data.SUBJECTS)


WRITTEN = "What is inhaled?\nA. gold\nB. oxygen\nC. iron\nD. sand\nAnswer: B"
VARIED = [
    WRITTEN,
    f"\n{WRITTEN}\n\nA question about physics:\nWhat?\nA. x\nB. y\nAnswer: A",
    f"Question: {WRITTEN}",
    f"Sure! Here is another question about biology:\n\n{WRITTEN}",
    f"**Practice question:**\n{WRITTEN}",
    WRITTEN.replace("B. oxygen", "**B)** oxygen").replace("Answer: B", "**Answer:** (B) oxygen"),
    WRITTEN.replace("Answer: B", "The correct answer is B."),
    WRITTEN.replace("\n", "\r\n"),
]
WRONG = {
    "": "no line begins with 'Answer:'",
    "\x00": "no line begins with 'Answer:'",
    WRITTEN.partition("\nAnswer")[0]: "no line begins with 'Answer:'",
    WRITTEN.replace("A. gold\n", ""): "there is no question with choices A, B and so on before the answer",
    WRITTEN.replace("C. iron", "E. iron"): "there is no question with choices A, B and so on before the answer",
    "What is inhaled?\nAnswer: B": "there is no question with choices A, B and so on before the answer",
    WRITTEN.partition("\n")[2]: "there is no question with choices A, B and so on before the answer",
    WRITTEN.replace("What is inhaled", "?"): "there is no question",
    WRITTEN.replace("iron", ""): "a choice is empty",
    WRITTEN.replace("iron", "gold"): "two choices are the same",
    WRITTEN.replace(": B", ": "): "no letter: expected one of A to D, read ''",
    WRITTEN.replace(": B", ": E"): "E is not among the choices A to D",
    WRITTEN.replace(": B", ": B or C"): "two letters or more: B, C",
    "answer " * 9_000: "no line begins with 'Answer:'",
    "A. " * 5_000 + "\nAnswer: A": "there is no question with choices A, B and so on before the answer",
}


@pytest.mark.parametrize("text", VARIED)
def test_practice_is_another_question_with_its_answer(text: str):
    task = ScienceTask()
    problem = task.problem(QUESTION.whole)
    read = task.parse(problem, text)
    assert read == Practice(f"Subject: college biology\n{WRITTEN.partition(chr(10) + 'Answer')[0]}", " B", True)
    assert task.why_malformed(text) == "" and task.written(problem, read) == WRITTEN


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[-40:]))
def test_practice_of_another_form_is_malformed_with_a_reason(text: str):
    task = ScienceTask()
    assert task.parse(task.problem(QUESTION.whole), text) == MALFORMED and task.why_malformed(text) == WRONG[text]


def test_the_worked_examples_are_practice(tmp_path: Path):
    for template in (None, chat):
        task = ScienceTask(template)
        for question, solved in prompts._PAIRS:
            read = task.parse(task.problem(question.whole), prompts.written(*solved))
            assert read.well_formed and not task.leaks(task.problem(question.whole), read)
            assert prompts.written(*solved) in task.synthesis_prompt(task.problem(QUESTION.whole))
    assert ScienceTask(chat).stops == () and ScienceTask().stops == ("\n\n",)


def test_checks_ask_for_the_answer_and_its_text_and_what_practice_leads_to():
    task = ScienceTask()
    problem = task.problem(QUESTION.whole)
    read = task.parse(problem, WRITTEN)
    stands, text, leads = task.checks(problem, read)
    assert len(task.check_names) == 3
    assert stands == (task.solve_prompt(read.prompt), " B")
    assert text == ("What is inhaled?\nAnswer:", " oxygen")
    assert leads == (f"{WRITTEN}\n\n", QUESTION.body)
    unread = task.checks(problem, Practice(problem.prompt, "no idea", True))
    assert unread[1].target == " no idea"


def test_what_repeats_the_question_leaks():
    task = ScienceTask()
    problem = task.problem(QUESTION.whole)
    other = Practice(QUESTION._replace(choices=("gold", "iron")).whole, " A", True)
    assert task.leaks(problem, other) and not task.leaks(problem, task.parse(problem, WRITTEN))


def test_special_tokens_of_questions_and_practice_are_removed():
    task = ScienceTask(chat, ("<|end|>",))
    assert "<|end|>" not in task.solve_prompt(f"<|end|>{QUESTION.whole}<|e<|end|>nd|>")
    assert task.parse(task.problem(QUESTION.whole), f"<|end|>{WRITTEN}").well_formed


def test_answers_by_likelihood_or_written():
    written, likely = ScienceTask(by_likelihood=False), ScienceTask()
    problem = likely.problem(QUESTION.whole)
    assert isinstance(likely, OffersChoices) and isinstance(likely, StatesAnswer)
    assert offered(likely, [problem]) == [(" A", " B", " C", " D")] and offered(written, [problem]) is None
    assert ScienceTask(chat).choices(problem) == ("A", "B", "C", "D")
    assert likely.answer_of(problem, "The answer is (B).") == "B" and likely.answer_of(problem, " none ") == "none"


class Tokenizer:
    """As much of one as `make` asks for."""

    has_chat_template, special_tokens = False, ()


def test_the_declaration_says_what_cannot_be(tmp_path: Path):
    with pytest.raises(ValueError, match="the model has no chat template; give 'text'"):
        Science(name="science", form="chat").make(Tokenizer())
    (fault,) = Science(name="science", validation_subjects=12).contradictions()
    assert "leave none of 18 subjects for training: give at most 17 together" in fault
    (fault,) = Science(name="science", shots=6).contradictions()
    assert "MMLU has 5 dev questions a subject" in fault
    write(tmp_path / "dev.jsonl", rows(3))
    task = Science(name="science", source=str(tmp_path), shots=2).make(Tokenizer()).task
    assert task.solve_prompt(QUESTION.whole).count("\nAnswer: C\n\n") == 2
    assert task.solve_prompt(QUESTION._replace(subject="law").whole).count("\nAnswer:") == 1
