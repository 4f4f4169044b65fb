"""Cleaning of post texts: what the public crawl masks (paper.md §2), and what must never reach a prompt."""

import html
import re
import unicodedata

LINK, MENTION = "<hyperlink>", "<mention>"
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>]+", re.IGNORECASE)
_MENTION = re.compile(r"(?<![\w@])@\w{1,50}")
# Tokens by which chat templates mark roles and turns: a post must not be able to speak as the system.
_TEMPLATE = re.compile(
    r"<\|[^|>\s]{0,64}\|>|<<\s*/?\s*SYS\s*>>|\[\s*/?\s*INST\s*\]|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk|endoftext)>",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """The text as models may read it.

    HTML entities are decoded, links and mentions masked, control and format characters and chat-template tokens removed, and white space
    folded. Cleaning twice changes nothing.
    """
    while True:  # entities may be nested, and removing a token may join the halves of another
        cleaned = _once(text)
        if cleaned == text:
            return cleaned
        text = cleaned


def _once(text: str) -> str:
    text = unicodedata.normalize("NFC", html.unescape(text))
    text = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"})
    text = _TEMPLATE.sub("", text)
    text = _MENTION.sub(MENTION, _LINK.sub(LINK, text))
    return " ".join(text.split())
