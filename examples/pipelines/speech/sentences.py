"""What people say: ten command templates with slots, split into sentences that train the language model and sentences that are spoken.

The two sets are disjoint and `corpus` raises when they are not: with overlap a recogniser on a small language model looks almost perfect.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

SLOTS: Final[dict[str, tuple[str, ...]]] = {
    "number": ("five", "ten", "twelve", "fifteen", "twenty", "thirty", "forty", "fifty"),
    "hour": ("six", "seven", "eight", "nine", "eleven"),
    "room": ("kitchen", "bedroom", "bathroom", "garage", "office", "hallway", "cellar"),
    "city": ("boston", "chicago", "denver", "seattle", "dallas", "london", "berlin", "madrid"),
    "person": ("anna", "peter", "susan", "michael", "robert", "laura", "david", "martha"),
    "item": ("milk", "bread", "butter", "coffee", "apples", "rice", "sugar", "onions"),
    "genre": ("jazz", "rock", "classical", "country", "folk"),
    "day": ("today", "tomorrow", "tonight", "saturday", "sunday", "monday"),
    "daypart": ("morning", "afternoon", "evening"),
    "place": ("airport", "station", "museum", "hotel", "hospital", "library"),
    "device": ("lights", "heater", "fan", "radio", "television"),
    "state": ("on", "off"),
}
# A slot written twice in a template takes two different values, in order.
TEMPLATES: Final[dict[str, str]] = {
    "timer": "set a timer for {number} minutes in the {room}",
    "alarm": "wake me up {day} {daypart} at {hour}",
    "music": "play some {genre} music in the {room}",
    "device": "turn {state} the {device} in the {room}",
    "remind": "remind me to call {person} {day}",
    "weather": "what will the weather be in {city} {day}",
    "navigate": "take me to the {place} in {city}",
    "shopping": "put {item} and {item} on the shopping list",
    "message": "tell {person} that i will be {number} minutes late",
    "flight": "find a flight from {city} to {city} {day}",
}
# Few enough that some word pairs of the spoken sentences were never seen in training, as in life.
TRAINING_PER_TEMPLATE: Final = 24
_CORPUS_SEED: Final = 20_24


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One command: its `text`, and what it means: `intent` (the template's key) and `slots`, (slot, value) in spoken order."""

    text: str
    intent: str
    slots: tuple[tuple[str, str], ...]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.text.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """`training` sentences for the language model, `spoken` ones for the voices; never one in both."""

    training: tuple[Sentence, ...]
    spoken: tuple[Sentence, ...]

    def __post_init__(self) -> None:
        shared = {s.text for s in self.training} & {s.text for s in self.spoken}
        if shared:
            message = (
                f"{len(shared)} sentences are both trained on and spoken, e.g. {min(shared)!r}: the word error rate would flatter the recogniser"
            )
            raise ValueError(message)
        unknown = vocabulary(self.spoken) - vocabulary(self.training)
        if unknown:
            message = f"spoken words that no training sentence holds: {sorted(unknown)}; raise TRAINING_PER_TEMPLATE"
            raise ValueError(message)


def vocabulary(sentences: Sequence[Sentence]) -> frozenset[str]:
    return frozenset(word for sentence in sentences for word in sentence.words)


def slot_names(template: str) -> tuple[str, ...]:
    """Slot names in the order they are spoken: ``("city", "city", "day")`` for a flight."""
    return tuple(word.strip("{}") for word in template.split() if word.startswith("{"))


def _sentences_of(intent: str, template: str) -> list[Sentence]:
    names = slot_names(template)
    found = []
    for values in itertools.product(*(SLOTS[name] for name in names)):
        slots = tuple(zip(names, values, strict=True))
        if len(set(slots)) < len(slots):  # "from boston to boston"
            continue
        filled = iter(values)
        text = " ".join(next(filled) if word.startswith("{") else word for word in template.split())
        found.append(Sentence(text=text, intent=intent, slots=slots))
    return found


@lru_cache(maxsize=1)
def corpus() -> Corpus:
    """The fixed split: `TRAINING_PER_TEMPLATE` sentences of each template train, all others are spoken."""
    rng = np.random.default_rng(_CORPUS_SEED)
    training: list[Sentence] = []
    spoken: list[Sentence] = []
    for intent, template in TEMPLATES.items():
        sentences = _sentences_of(intent, template)
        order = rng.permutation(len(sentences))
        cut = min(TRAINING_PER_TEMPLATE, len(sentences) // 2)
        training.extend(sentences[i] for i in order[:cut])
        spoken.extend(sentences[i] for i in order[cut:])
    return Corpus(training=tuple(training), spoken=tuple(spoken))


def draw(count: int, rng: np.random.Generator) -> list[Sentence]:
    """`count` spoken sentences, with repeats as in real use. Every ten in a row hold each template once, so that two halves are alike."""
    by_intent = [[s for s in corpus().spoken if s.intent == intent] for intent in TEMPLATES]
    chosen: list[Sentence] = []
    while len(chosen) < count:
        for intent in rng.permutation(len(by_intent)):
            sentences = by_intent[int(intent)]
            chosen.append(sentences[int(rng.integers(len(sentences)))])
    return chosen[:count]
