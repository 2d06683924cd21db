"""Runs many reports in one pass through the `radgraph` package's own model.

The package itself runs one document at a time. But its model has a dimension for the sentences of a
document, and reads each sentence alone (except for coreference and events). So we give it a batch
as one document whose sentences are the reports. Encoder, span and relation heads are the package's.
Only span pairs are scored a few rows at a time, because all at once they take 10 GiB at 1,500
words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reportcard.api import Json

BATCH = {"cuda": 64, "cpu": 8}  # reports per pass; measured by benchmarks/radgraph.py
PAIR_FLOATS = {"cuda": 2**28, "cpu": 2**22}  # of pair features at a time: 1 GiB, 16 MiB


@dataclass(frozen=True, slots=True)
class Document:
    """A text as the package's indexer gives it; `place` is its position in the call."""

    place: int
    n_words: int
    words: tuple[str, ...]
    tokens: dict[str, list[Any]]

    @property
    def n_pieces(self) -> int:
        return len(self.tokens["token_ids"])


@dataclass(frozen=True, slots=True)
class _Sentence:
    """What a prediction of the package refers to; the real class copies its text each time."""

    text: tuple[str, ...] = ()
    sentence_start: int = 0


@dataclass(frozen=True, slots=True)
class _Metadata:
    """Takes the place of the package's Document: iterating over it gives the sentences."""

    dataset: str
    sentences: tuple[_Sentence, ...]
    weight: float | None = None

    def __iter__(self) -> Iterator[_Sentence]:
        return iter(self.sentences)


class Reader:
    """The package's model and dataset reader, on a device.

    package: a constructed radgraph.RadGraph
    """

    def __init__(self, package: Any, device: str, batch_size: int | None) -> None:
        self.model_type: str = package.model_type
        self.device = device
        self.model = package.model.to(device).eval()
        self._reader = package.reader
        self._indexer = package.reader._token_indexers["bert"]
        kind = device.split(":")[0]
        score_pairs_by_rows(self.model._relation, PAIR_FLOATS.get(kind, PAIR_FLOATS["cpu"]))
        drop_padded_spans(self.model._relation)
        weights = self.model._loss_weights
        across = weights["coref"] > 0 or weights["events"] > 0 or self.model._coref.coref_prop > 0
        self.batch_size = 1 if across else batch_size or BATCH.get(kind, 1)

    def document(self, place: int, text: str, max_words: int) -> Document:
        """Split a text into words and word pieces; `n_words` also counts those beyond max_words."""
        from radgraph.allennlp.data.tokenizers import Token
        from radgraph.utils import preprocess_reports

        # The tokenizer would refuse the whole text because of a lone surrogate.
        text = text.encode("utf-8", "replace").decode("utf-8")
        found = preprocess_reports([text], self.model_type)[0]["sentences"][0]
        words = tuple(found[:max_words])
        if not words:
            return Document(place, 0, (), {"token_ids": []})
        read = [Token(self._reader._normalize_word(word)) for word in words]
        tokens = self._indexer.tokens_to_indices(read, self.model.vocab)
        n = len(tokens["token_ids"])
        # Where no [SEP] was added, the package's last offsets point past the end, and it masks
        # them. In a padded batch they would point at padding, so they are cut here to the same
        # effect.
        tokens["offsets"] = [
            (start, min(end, n - 1)) if start < n else (-1, -1) for start, end in tokens["offsets"]
        ]
        return Document(place, len(found), words, tokens)

    def graphs(self, documents: Iterable[Document]) -> Iterator[tuple[Document, list[Json] | None]]:
        """Yield each document that has a word, with its entities; None where memory ran out."""
        for batch in self._batches(d for d in documents if d.words):
            yield from zip(batch, self._run(batch), strict=True)

    def _batches(self, documents: Iterable[Document]) -> Iterator[list[Document]]:
        """Batches of similar lengths, longest first, so that memory runs out at once or never.

        A text longer than the encoder's window makes a batch alone: the package splits it into
        windows, and every other text of its batch would be padded to as many.
        """
        window = self._indexer._matched_indexer._max_length
        batch: list[Document] = []
        for document in sorted(documents, key=lambda d: -d.n_pieces):
            if window is not None and document.n_pieces > window:
                yield [document]
                continue
            batch.append(document)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _run(self, batch: Sequence[Document]) -> list[list[Json] | None]:
        import torch

        try:
            return list(self.forward(batch))
        except torch.cuda.OutOfMemoryError:
            pass  # free the memory outside of this block: the traceback keeps the tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(batch) == 1:
            return [None]
        half = (len(batch) + 1) // 2
        return self._run(batch[:half]) + self._run(batch[half:])

    def forward(self, batch: Sequence[Document]) -> list[list[Json]]:
        """Run the package's model over a batch; return entities with their relations."""
        import torch

        with torch.inference_mode():
            output = self.model(**self._inputs(batch))
        rows = zip(output["ner"]["predictions"], output["relation"]["predictions"], strict=True)
        return [
            entities_of(document.words, *predicted)
            for document, predicted in zip(batch, rows, strict=True)
        ]

    def _inputs(self, batch: Sequence[Document]) -> Json:
        """The tensors that the package's loader would make of one document of many sentences."""
        import torch
        from radgraph.allennlp.data.dataset_readers.dataset_utils import enumerate_spans

        lengths = {key: max([1, *(len(d.tokens[key]) for d in batch)]) for key in batch[0].tokens}
        rows = [self._indexer.as_padded_tensor_dict(d.tokens, lengths) for d in batch]
        text = {key: torch.stack([row[key] for row in rows])[None] for key in lengths}
        width = self._reader._max_span_width
        spans = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(enumerate_spans(d.words, max_span_width=width)) for d in batch],
            batch_first=True,
            padding_value=-1,
        )
        return {
            "text": {"bert": {key: tensor.to(self.device) for key, tensor in text.items()}},
            "spans": spans[None].to(self.device),
            "metadata": [_Metadata(self.model_type, tuple(_Sentence() for _ in batch))],
        }


def entities_of(words: Sequence[str], ner: Sequence[Any], relations: Sequence[Any]) -> list[Json]:
    """Return [tokens, label, start, end, [[relation, target], …]] per entity, in package order.

    A relation whose source or target is not an entity is dropped, as the package's get_entity does.
    """
    entities: list[Any] = []
    place = {}
    for entity in ner:
        start, end = entity.span.start_sent, entity.span.end_sent
        place[start, end] = len(entities)
        entities.append([" ".join(words[start : end + 1]), entity.label, start, end, []])
    for relation in relations:
        source, target = (place.get((span.start_sent, span.end_sent)) for span in relation.pair)
        if source is not None and target is not None:
            entities[source][4].append([relation.label, target])
    return entities


def score_pairs_by_rows(relation: Any, floats: int) -> None:
    """Make the package's RelationExtractor compute the same scores in bounded memory.

    Scores of a pair (a, b): scorer(feedforward([a, b, a·b])) + mention(a) + mention(b); 0 for none.
    """
    import torch

    def pairs(spans: Any) -> Any:
        return spans  # (reports, spans, features); paired up below, a few rows at a time

    def scores(spans: Any, mention: Any) -> Any:
        name = relation._active_namespace
        feedforward = relation._relation_feedforwards[name]
        scorer = relation._relation_scorers[name]
        reports, n, width = spans.shape
        rows = max(1, floats // (3 * reports * n * width))
        other = spans[:, None]
        parts = []
        for start in range(0, n, rows):
            one = spans[:, start : start + rows, None]
            shape = (reports, one.shape[1], n, width)
            features = [one.expand(shape), other.expand(shape), one * other]
            parts.append(scorer(feedforward(torch.cat(features, dim=-1))))
        total = torch.cat(parts, dim=1) + (mention[:, :, None] + mention[:, None])
        return torch.cat([total.new_zeros((*total.shape[:3], 1)), total], dim=-1)

    relation._compute_span_pair_embeddings = pairs
    relation._compute_relation_scores = scores


def drop_padded_spans(relation: Any) -> None:
    """Make the package's RelationExtractor predict from each report's own spans only.

    In a batch, the pruner pads the spans of a short report with copies of one of them. The package
    masks these copies as targets but not as sources.
    """
    predict = relation._predict_sentence

    def predict_own(spans: Any, scores: Any, n_spans: Any, sentence: Any) -> Any:
        n = int(n_spans)
        return predict(spans[:n], scores[:n, :n], n_spans, sentence)

    relation._predict_sentence = predict_own
