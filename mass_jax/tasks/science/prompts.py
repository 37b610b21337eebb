"""What models read and write: as lm-evaluation-harness' ``mmlu`` poses questions, as plain text or as a chat.

A practice example is another question of the subject, its choices, and a last line with its answer.
"""

from collections.abc import Sequence

from mass_jax.tasks.chat import Chat, said
from mass_jax.tasks.science.form import Question

ANSWER = "\nAnswer:"
STOPS = ("\n\n",)
"""Where a model that continues has ended an answer or a practice example."""
Solved = tuple[Question, str]
"""A question and the letter of its answer."""
_PAIRS: tuple[tuple[Question, Solved], ...] = (
    (
        Question(
            "Which planet is the closest to the Sun?", ("Venus", "Mercury", "the Earth", "Mars"), "conceptual physics"
        ),
        (
            Question(
                "Why does a year on Mercury last only 88 days?",
                (
                    "Mercury turns slowly around itself.",
                    "Mercury has no moon.",
                    "Mercury is the smallest planet.",
                    "Mercury has the shortest path around the Sun.",
                ),
            ),
            "D",
        ),
    ),
    (
        Question("What is 3/4 of 60?", ("45", "15", "40", "80"), "elementary mathematics"),
        (Question("Ann reads 2/5 of a book of 150 pages. How many are left?", ("60", "75", "90", "100")), "C"),
    ),
    (
        Question(
            "In which part of a plant cell does photosynthesis take place?",
            ("nucleus", "cell wall", "chloroplast", "ribosome"),
            "high school biology",
        ),
        (
            Question(
                "Which gas do plants take up for photosynthesis?", ("oxygen", "carbon dioxide", "nitrogen", "hydrogen")
            ),
            "B",
        ),
    ),
)
"""Questions, each with practice for it."""


def solve(question: Question, shown: Sequence[Solved], chat: Chat | None) -> str:
    """What the solver reads; ``shown`` are solved questions."""
    about = f" about {question.subject}" if question.subject else ""
    told = f"The following are multiple choice questions (with answers){about}.\n\n"
    if chat is None:
        worked = "".join(f"{each.body}{ANSWER} {letter}\n\n" for each, letter in shown)
        return f"{told}{worked}{question.body}{ANSWER}"
    messages = [said("system", told)]
    for each, letter in shown:
        messages += [said("user", each.body + ANSWER), said("assistant", letter)]
    return chat([*messages, said("user", question.body + ANSWER)])


def synthesise(question: Question, chat: Chat | None) -> str:
    """What the generator reads."""
    if chat is None:
        worked = "".join(f"{_posed(each)}{written(*solved)}\n\n" for each, solved in _PAIRS)
        return worked + _posed(question)
    messages = []
    for each, solved in _PAIRS:
        messages += [said("user", _asked(each)), said("assistant", written(*solved))]
    return chat([*messages, said("user", _asked(question))])


def written(question: Question, letter: str) -> str:
    """A practice example as a generator writes it."""
    return f"{question.body}{ANSWER} {letter}"


def _posed(question: Question) -> str:
    about = f" about {question.subject}" if question.subject else ""
    return f"A question{about}:\n{question.body}\n\nAnother question{about}, with its answer:\n"


def _asked(question: Question) -> str:
    about = f" about {question.subject}" if question.subject else ""
    return (
        f"Here is a multiple choice question{about}:\n\n{question.body}\n\nWrite another one, for practice: the "
        "question, its choices, a line each that begins with its letter, and a last line 'Answer: ' with the letter of "
        "the right one."
    )
