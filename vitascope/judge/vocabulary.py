"""Vocabulary of the judge: marks, words of attribute sentences, and words of captions.

English captions are split into words and punctuation, Chinese ones into characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from vitascope.errors import ModelError
from vitascope.judge.mirror import mirrored_words
from vitascope.judge.sentence import VALUES, Sentence, write
from vitascope.worlds.language import Language

Tongue = Literal["attributes", "en", "zh"]  # kind of a sentence; its mark comes first
END, UNKNOWN = "<end>", "<unknown>"
MARKS = (END, UNKNOWN, *(f"<{tongue}>" for tongue in get_args(Tongue)))
ATTRIBUTE_TOKENS = tuple(f"{attribute}:{value}" for attribute, values in VALUES.items() for value in values)


class Vocabulary:
    """Numbers of tokens, from a list that `collect` makes.

    Raises:
        ModelError: words of the world are missing, for example in a judge for another version of the world.
    """

    def __init__(self, tokens: Sequence[str]):
        self.tokens = tuple(tokens)
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        missing = [token for token in (*MARKS, *ATTRIBUTE_TOKENS) if token not in self.ids]
        if missing:
            raise ModelError(
                f"the judge lacks {len(missing)} of the world's words ({missing[0]} is one): train it again"
            )
        self.end, self.unknown = self.ids[END], self.ids[UNKNOWN]
        self.choices = {  # tokens of each attribute's slots
            attribute: [self.ids[f"{attribute}:{value}"] for value in values] for attribute, values in VALUES.items()
        }
        sides = {token: mirrored_words(token) for token in ATTRIBUTE_TOKENS}
        self.mirrored = [self.ids[sides.get(token, token)] for token in self.tokens]  # of each attribute word
        fixed = {*MARKS, *ATTRIBUTE_TOKENS}
        self.words = [number for token, number in self.ids.items() if token not in fixed]

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    def mark(self, tongue: Tongue) -> int:
        """First token of a sentence."""
        return self.ids[f"<{tongue}>"]

    def encode_sentence(self, sentence: Sentence) -> list[int]:
        """Tokens of an attribute sentence, with mark and end."""
        return [self.mark("attributes"), *(self.ids[token] for token in write(sentence)), self.end]

    def encode_caption(self, caption: str, language: Language) -> list[int]:
        """Tokens of a caption, with mark and end. Words outside the vocabulary become `<unknown>`."""
        words = (self.ids.get(word, self.unknown) for word in split(caption))
        return [self.mark(language), *words, self.end]

    def decode_caption(self, ids: Iterable[int], language: Language) -> str:
        """Caption of word tokens without mark and end."""
        return join((self.tokens[number] for number in ids), language)


def collect(captions: Iterable[str]) -> tuple[str, ...]:
    """Tokens of these captions and of any attribute sentence, independent of the captions' order."""
    return (*MARKS, *ATTRIBUTE_TOKENS, *sorted({word for caption in captions for word in split(caption)}))


def split(caption: str) -> list[str]:
    """English words of a caption, and all other visible characters as one token each."""
    return re.findall(r"[A-Za-z0-9'-]+|[^\sA-Za-z0-9]", caption)


def join(words: Iterable[str], language: Language) -> str:
    """Inverse of `split`, for captions with single spaces."""
    if language == "zh":
        return "".join(words)
    return re.sub(r" ([,.:;!?])", r"\1", " ".join(words))
