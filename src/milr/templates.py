"""Every prompt template, once. The strings are complete but for the special tokens, which the model adds by id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from milr.types import UsageError

RoleTags = Literal["pipe", "plain"]
Verdict = Literal["first", "every"]

_TAGS: dict[str, tuple[str, str]] = {"pipe": ("<|User|>", "<|Assistant|>"), "plain": ("User", "Assistant")}

_JANUS_REASONING = """Imagine the finished picture for this request: {prompt}
Write down, briefly and precisely, what can be seen in it. Name every object of the request. Where the request gives \
a colour, a number, a shape or a texture, repeat it beside its object; where it says how objects stand to each other, \
say where each one is. Keep to 50 words, leave out whatever the request does not say, and explain nothing."""

_JANUS_REASONING_SYSTEM = "You turn a request for a picture into a short description of what that picture shows."

# What Janus was trained with when it looks at pictures (DeepSeek's own wording; a fact of the model, not a choice).
_JANUS_ANSWERING_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)


DESCRIPTION_QUESTION = (
    "Describe this picture in one or two sentences: every object in it with its colour, how many there are, and where "
    "each one stands."
)
"""The neutral question by which a model describes a picture, where its world has no other."""


CHECKLIST = """A picture is to show this: {prompt}
Write the questions that decide whether a picture shows it: one question a line, at most eight, nothing else. Each is \
about one thing only, first each object, then its number, its colour or texture, and where it stands. Each can be \
answered by looking at the picture, with yes where the picture is right and with no where it is wrong."""
"""How a writer is told to turn a prompt into yes/no questions."""
_REVISE = """A picture is to show this: {prompt}
A first picture was made from this description: {description}
{found}Write a better description of the picture that is asked for, as short as the first. Put first what the first \
picture lacks or has wrong, and say it plainly. Write the description only."""
MAX_QUOTED = 300
"""Letters of a text that a revision quotes."""
YES_OR_NO = "{question} Answer with yes or no."
"""How a model is asked a question of such a list."""


@dataclass(frozen=True)
class Revision:
    """What a writer is told who is to write a `description` anew.

    `seen` describes the picture that was made of it, `lacking` are questions about it that were answered with no; both
    are left out where they are empty.
    """

    prompt: str
    description: str
    seen: str = ""
    lacking: tuple[str, ...] = ()

    def text(self) -> str:
        """The instruction; of each text the first MAX_QUOTED letters are quoted, of the prompt all."""
        seen = f"That picture shows this: {self.seen[:MAX_QUOTED]}\n" if self.seen else ""
        no = f"Asked about it, the answer was no: {' '.join(self.lacking)[:MAX_QUOTED]}\n" if self.lacking else ""
        before, _, after = _REVISE.partition("{description}")
        return fill(before, self.prompt) + self.description[:MAX_QUOTED] + after.replace("{found}", seen + no)


@dataclass(frozen=True)
class Templates:
    """The prompt templates of one model. `{prompt}` stands for the prompt in `reasoning` and `question`.

    `verdict` says which tokens of an answer decide: the first, or every yes or no of a comparison that it writes out.
    An answer has at most `answer_tokens` tokens.
    """

    reasoning: str
    question: str
    reasoning_system: str = ""
    answering_system: str = ""
    picture: str = "{picture}\n{question}"
    role_tags: RoleTags = "pipe"
    verdict: Verdict = "first"
    answer_tokens: int = 8

    def __post_init__(self) -> None:
        if self.role_tags not in get_args(RoleTags):
            raise UsageError(f"role tags are 'pipe' or 'plain', not {self.role_tags!r}.")
        for name in ("reasoning", "question"):
            if "{prompt}" not in getattr(self, name):
                raise UsageError(f"the {name} template needs the placeholder {{prompt}}.")

    def override(
        self, *, role_tags: RoleTags | None = None, reasoning: str | None = None, question: str | None = None
    ) -> Templates:
        """The same templates with what the user replaced; None keeps the original.

        `reasoning` is a user turn, or a system line and a user turn: see `split_reasoning`.
        """
        system, turn = (None, None) if reasoning is None else split_reasoning(reasoning)
        replaced = {"role_tags": role_tags, "reasoning": turn, "reasoning_system": system, "question": question}
        return replace(self, **{name: value for name, value in replaced.items() if value is not None})  # type: ignore[arg-type]

    def turn(self, content: str, *, system: str = "") -> str:
        """One user turn and the start of the assistant's; the system text is a plain first paragraph."""
        user, assistant = _TAGS[self.role_tags]
        paragraphs = ([system] if system else []) + [f"{user}: {content}", f"{assistant}:"]
        return "\n\n".join(paragraphs)

    def reason(self, prompt: str) -> str:
        """The turn that asks for a visualisation of `prompt`."""
        return self.turn(fill(self.reasoning, prompt), system=self.reasoning_system)

    def draw(self, content: str) -> str:
        """The turn after which the picture of `content` is drawn."""
        return self.turn(content)

    def ask(self, question: str, picture: str) -> str:
        """The turn that asks `question` about the picture whose placeholder tokens are the string `picture`."""
        content = self.picture.replace("{picture}", picture).replace("{question}", question)
        return self.turn(content, system=self.answering_system)

    def judge(self, prompt: str) -> str:
        """The yes/no question with which a model judges its own picture of `prompt`."""
        return fill(self.question, prompt)


def split_reasoning(reasoning: str) -> tuple[str | None, str]:
    """The system line and the user turn of a reasoning prompt: above and below a line `---`.

    Without such a line all of it is the user turn, and the system line is None: the model's own.
    """
    above, separator, below = f"\n{reasoning}\n".partition("\n---\n")
    return (above.strip(), below.strip()) if separator else (None, reasoning)


def fill(template: str, prompt: str) -> str:
    """`template` with its placeholder replaced; braces elsewhere are left alone."""
    return template.replace("{prompt}", prompt)


def drawing(prompt: str, visualisation: str | None = None) -> str:
    """The drawing content: "c. t", or the bare prompt when there is no visualisation."""
    return f"{prompt}. {visualisation}" if visualisation else prompt


JANUS = Templates(
    reasoning=_JANUS_REASONING,
    question="Look closely at the picture. Does it show {prompt}, with nothing missing and nothing wrong? "
    "Answer with yes or no.",
    reasoning_system=_JANUS_REASONING_SYSTEM,
    answering_system=_JANUS_ANSWERING_SYSTEM,
)

NANO = Templates(
    reasoning="plan the picture : {prompt}",
    question="does this picture show {prompt} ? answer yes or no .",
    verdict="every",
    answer_tokens=128,
)
