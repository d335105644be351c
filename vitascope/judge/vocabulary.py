"""The judge's one vocabulary: marks, the words of attribute sentences, and the words of captions.

English captions fall into words and punctuation, Chinese ones into characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from vitascope.errors import ModelError
from vitascope.judge.mirror import mirrored_words
from vitascope.judge.sentence import VALUES, Sentence, write
from vitascope.worlds.language import Language

Tongue = Literal["attributes", "en", "zh"]  # what a sentence is written in; its mark comes first
END, UNKNOWN = "<end>", "<unknown>"
MARKS = (END, UNKNOWN, *(f"<{tongue}>" for tongue in get_args(Tongue)))
ATTRIBUTE_TOKENS = tuple(f"{attribute}:{value}" for attribute, values in VALUES.items() for value in values)


class Vocabulary:
    """Numbers of tokens. `collect` makes the list of tokens that it needs.

    Raises:
        ModelError: tokens that lack some, as those of a judge that was trained on another version of the world.
    """

    def __init__(self, tokens: Sequence[str]):
        self.tokens = tuple(tokens)
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        missing = [token for token in (*MARKS, *ATTRIBUTE_TOKENS) if token not in self.ids]
        if missing:
            raise ModelError(
                f"the judge lacks {len(missing)} of the world's words ({missing[0]} is one): train it anew"
            )
        self.end, self.unknown = self.ids[END], self.ids[UNKNOWN]
        self.choices = {  # the tokens that may stand in an attribute's slots
            attribute: [self.ids[f"{attribute}:{value}"] for value in values] for attribute, values in VALUES.items()
        }
        sides = {token: mirrored_words(token) for token in ATTRIBUTE_TOKENS}
        self.mirrored = [self.ids[sides.get(token, token)] for token in self.tokens]  # what an attribute's word becomes
        fixed = {*MARKS, *ATTRIBUTE_TOKENS}
        self.words = [number for token, number in self.ids.items() if token not in fixed]

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    def mark(self, tongue: Tongue) -> int:
        """The token that a sentence begins with."""
        return self.ids[f"<{tongue}>"]

    def encode_sentence(self, sentence: Sentence) -> list[int]:
        """An attribute sentence with its mark and its end."""
        return [self.mark("attributes"), *(self.ids[token] for token in write(sentence)), self.end]

    def encode_caption(self, caption: str, language: Language) -> list[int]:
        """A caption with its mark and its end; words that aren't in the vocabulary become `<unknown>`."""
        words = (self.ids.get(word, self.unknown) for word in split(caption))
        return [self.mark(language), *words, self.end]

    def decode_caption(self, ids: Iterable[int], language: Language) -> str:
        """The caption that these words make, without mark and end."""
        return join((self.tokens[number] for number in ids), language)


def collect(captions: Iterable[str]) -> tuple[str, ...]:
    """All tokens that these captions and any attribute sentence need; the same whatever the captions' order."""
    return (*MARKS, *ATTRIBUTE_TOKENS, *sorted({word for caption in captions for word in split(caption)}))


def split(caption: str) -> list[str]:
    """A caption's English words, and every other character that isn't blank by itself."""
    return re.findall(r"[A-Za-z0-9'-]+|[^\sA-Za-z0-9]", caption)


def join(words: Iterable[str], language: Language) -> str:
    """The inverse of `split`, for captions with ordinary spaces."""
    if language == "zh":
        return "".join(words)
    return re.sub(r" ([,.:;!?])", r"\1", " ".join(words))
