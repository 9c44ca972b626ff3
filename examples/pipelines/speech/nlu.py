"""Stage 4, understanding: words to an intent and its slots, by a lexicon. A rule, not a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from examples.pipelines.speech.sentences import SLOTS, TEMPLATES, Sentence, slot_names

_NOWHERE: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NluConfig:
    """Which lexicon: its `release` and the slot values it does not have yet."""

    release: str = "7"
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """What the user wants, and how well the words fit.

    `intent` is "" when no keyword was heard; `slots` are (slot, value) in spoken order. `unknown_share`: words the lexicon has never seen, over all
    words. `coverage`: words that the answer used, over all words. `confidence`: share of the intent's keywords heard times share of its slots filled.
    """

    intent: str
    slots: tuple[tuple[str, str], ...]
    unknown_share: float
    coverage: float
    confidence: float


@lru_cache(maxsize=1)
def _keywords() -> dict[str, frozenset[str]]:
    return {intent: frozenset(word for word in template.split() if not word.startswith("{")) for intent, template in TEMPLATES.items()}


@lru_cache(maxsize=8)
def _lexicon(config: NluConfig) -> dict[str, str]:
    """Word -> slot, "" for function words. "on" is both a state and a function word: the slot wins; the intent decides whether it is asked for."""
    words = {word: _NOWHERE for keywords in _keywords().values() for word in keywords}
    words.update({value: slot for slot, values in SLOTS.items() for value in values})
    return {word: slot for word, slot in words.items() if word not in config.missing}


def understand(words: Sequence[str], config: NluConfig) -> Understood:
    if not words:
        return Understood(intent="", slots=(), unknown_share=0.0, coverage=0.0, confidence=0.0)
    lexicon = _lexicon(config)
    heard = set(words)
    # Share of the intent's keywords that were heard; ties go to the intent that explains more of the words, then to the earlier template.
    scores = {intent: (len(keys & heard) / len(keys), len(keys & heard)) for intent, keys in _keywords().items()}
    intent = max(scores, key=lambda name: scores[name])
    if scores[intent][1] == 0:
        return Understood(intent="", slots=(), unknown_share=_unknown(words, lexicon), coverage=0.0, confidence=0.0)
    wanted = slot_names(TEMPLATES[intent])
    slots = _fill(words, wanted, lexicon)
    used = sum(word in _keywords()[intent] for word in words) + len(slots)
    return Understood(
        intent=intent,
        slots=slots,
        unknown_share=_unknown(words, lexicon),
        coverage=min(used / len(words), 1.0),
        confidence=scores[intent][0] * len(slots) / len(wanted),
    )


def _unknown(words: Sequence[str], lexicon: dict[str, str]) -> float:
    return sum(word not in lexicon for word in words) / len(words)


def _fill(words: Sequence[str], wanted: tuple[str, ...], lexicon: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The first words of each wanted slot, as many as the template has, in spoken order."""
    open_slots = list(wanted)
    filled = []
    for word in words:
        slot = lexicon.get(word)
        if slot in open_slots:
            open_slots.remove(slot)
            filled.append((slot, word))
    return tuple(filled)


def task_loss(sentence: Sentence, understood: Understood) -> float:
    """0 when intent and all slots are exactly right, else 1."""
    return 0.0 if (understood.intent, understood.slots) == (sentence.intent, sentence.slots) else 1.0
