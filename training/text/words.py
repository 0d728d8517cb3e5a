"""Words of ten languages, without their accents: which language is a word of?

The words are the commonest of each language as `wordfreq` has them (Speer, 2022), which ships its
lists, so that nothing is downloaded. Words that several of the languages have are left out.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from string import ascii_lowercase

import torch
from torch import Tensor

from supernet.manifest import TextPreprocessing
from training.images.data import Batch, BatchPlan, Dataset, stratified
from training.randomness import torch_generator

LABELS = ("de", "en", "es", "fi", "fr", "it", "nl", "pl", "pt", "sv")
PREPROCESSING = TextPreprocessing(alphabet=ascii_lowercase)
MOST_COMMON = 20_000  # of each list
SHORTEST, LONGEST = 4, 16
TEST_WORDS = 8000


@dataclass(frozen=True, slots=True)
class WordSource:
    """An `ImageSource` of words as tokens [N, LONGEST]; a resolution is how many are read."""

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> WordSource:
        return WordSource(self.tokens[indices], self.labels[indices])

    def batches(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        for plan in plans:
            tokens = self.tokens[plan.indices, : plan.resolution].contiguous()
            yield Batch(tokens, self.labels[plan.indices])


def load_words(validation_words: int | None, train_words: int | None = None) -> Dataset:
    """The words, shuffled, evenly held out: `TEST_WORDS` for the test split, `validation_words`
    (as many where it is None) for validation. Raises `ValueError` where the package is missing."""
    everything = _source()
    test, rest = _held_out(everything, TEST_WORDS)
    count = TEST_WORDS if validation_words is None else validation_words
    validation, train = _held_out(rest, count)
    if train_words is not None:
        train = train.take(stratified(train.labels, train_words, "train_images"))
    return Dataset(
        train, validation, test, LABELS, f"words of {len(LABELS)} languages, {len(train)}"
    )


def plain(word: str) -> str:
    """A word without accents."""
    marked = unicodedata.normalize("NFKD", word.replace("ß", "ss").replace("ł", "l"))
    return "".join(c for c in marked if not unicodedata.combining(c))


def _source() -> WordSource:
    words = _words()
    order = torch.randperm(len(words), generator=torch_generator(0, "words"))
    pairs = [words[i] for i in order.tolist()]
    tokens = torch.tensor([PREPROCESSING.tokens(word, LONGEST) for word, _ in pairs])
    return WordSource(tokens, torch.tensor([label for _, label in pairs]))


def _words() -> list[tuple[str, int]]:
    """Each with the number of its language, in a fixed order."""
    if find_spec("wordfreq") is None:
        raise ValueError("data set words: needs wordfreq: pip install 'compofa[text]'")
    from wordfreq import top_n_list  # type: ignore[import-not-found, import-untyped, unused-ignore]

    lists = []
    for language in LABELS:
        found = (plain(word) for word in top_n_list(language, MOST_COMMON))
        lists.append(dict.fromkeys(w for w in found if _is_taken(w)))
    counts = Counter(word for words in lists for word in words)
    return [(w, label) for label, words in enumerate(lists) for w in words if counts[w] == 1]


def _is_taken(word: str) -> bool:
    return SHORTEST <= len(word) <= LONGEST and set(word) <= set(ascii_lowercase)


def _held_out(source: WordSource, count: int) -> tuple[WordSource, WordSource]:
    """So many, and what is left."""
    held = stratified(source.labels, count, "validation_images")
    left = torch.ones(len(source), dtype=torch.bool)
    left[held] = False
    return source.take(held), source.take(left.nonzero().flatten())
