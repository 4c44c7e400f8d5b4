"""Raw mails → what their writers said, without headers, quotes, signatures and names.

The mails are of real persons: addresses, links, telephone numbers and the names in all mails'
headers are replaced, so that nothing of who wrote them reaches a model.
"""

from __future__ import annotations

import email
import email.errors
import html
import re
from collections.abc import Iterable
from email.message import Message
from email.utils import getaddresses

__all__ = ["clean_mail", "name_words"]

FEEDS = ("rssfeeds", "rss@")  # senders that are programs: all their mails look alike
ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+\w")
LINK = re.compile(r"(https?://|www\.)\S+", re.IGNORECASE)
PHONE = re.compile(r"\+?\d[\d ().-]{7,}\d")
QUOTE = re.compile(r"^\s*([>|:]|On .{0,120} wrote:|.{0,80} (wrote|writes|said):\s*$|-+ ?Original)")
ENDS = re.compile(r"^(-- ?|_{10,}|-{10,}|={10,})\s*$")  # of what the writer said
WORD = re.compile(r"[A-Za-z]{3,}")
PARTS = ("From", "To", "Cc", "Reply-To", "Sender")


def name_words(mails: Iterable[str]) -> frozenset[str]:
    """Words of the names in all headers, in lower case, that no mail uses as an ordinary word."""
    named: set[str] = set()
    ordinary: set[str] = set()
    for raw in mails:
        for shown, _ in getaddresses(_headers(raw)):
            named.update(word.lower() for word in WORD.findall(shown))
        body = ADDRESS.sub("", LINK.sub("", raw.partition("\n\n")[2]))
        ordinary.update(word for word in WORD.findall(body) if word.islower())
    return frozenset(named - ordinary)


def clean_mail(raw: str, names: frozenset[str]) -> str:
    """One line of text; empty for a program's mail, and where nothing is left."""
    if any(feed in entry.lower() for entry in _headers(raw) for feed in FEEDS):
        return ""
    lines = []
    for line in _body(email.message_from_string(raw)).splitlines():
        if ENDS.match(line) and lines:
            break
        if not QUOTE.match(line):
            lines.append(line)
    text = " ".join(" ".join(lines).split())
    for pattern, shown in ((LINK, "[link]"), (ADDRESS, "[address]"), (PHONE, "[phone]")):
        text = pattern.sub(shown, text)
    return WORD.sub(lambda found: "[name]" if found[0].lower() in names else found[0], text)


def _headers(raw: str) -> list[str]:
    """What a mail's headers say of people."""
    head, pattern = raw.partition("\n\n")[0], re.compile(rf"^({'|'.join(PARTS)}): (.*)$", re.M)
    return [found[1] for found in pattern.findall(head)]


def _body(message: Message) -> str:
    """The text of a mail: of its plain parts, or of its HTML where there are none."""
    found: dict[str, list[str]] = {"text/plain": [], "text/html": []}
    for part in message.walk():
        kind = part.get_content_type()
        if kind in found:
            found[kind].append(_decoded(part))
    plain = "\n".join(found["text/plain"]).strip()
    if plain and "<html" not in plain.lower():
        return plain
    return _text_of("\n".join([plain, *found["text/html"]]))


def _decoded(part: Message) -> str:
    try:
        content = part.get_payload(decode=True)
    except (ValueError, email.errors.MessageError):
        return ""
    return content.decode("latin-1") if isinstance(content, bytes) else ""


def _text_of(markup: str) -> str:
    """HTML without tags, styles and scripts."""
    bare = re.sub(r"(?is)<(style|script|head|title).*?</\1>|<!--.*?-->", " ", markup)
    broken = re.sub(r"(?i)<(br|/p|/tr|/div|/h\d)[^>]*>", "\n", bare)
    return html.unescape(re.sub(r"(?s)<[^>]*>", " ", broken))
