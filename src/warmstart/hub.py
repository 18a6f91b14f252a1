"""Artefacts on the Hugging Face hub: ``save_pretrained``, ``from_pretrained``, ``push_to_hub``.

The folder is an artefact as ``Recommender.save`` writes it, with a model card in ``README.md`` that
is written from the artefact. It holds user ids, histories and item texts.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from warmstart.core import Causal, Encoder, Recommender
from warmstart.errors import ConfigError, DataWarning, missing_extra, shortened
from warmstart.evaluation.comparison import Comparison
from warmstart.methods import load_model
from warmstart.process import check_process
from warmstart.storage import atomic_file
from warmstart.version import __version__

try:
    from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download
except ImportError:
    raise missing_extra("huggingface_hub", "lm") from None

_SIGNATURE = b"\n<!-- written by warmstart, and written anew while unedited: "
_USE = """\
```python
import warmstart as ws

model = ws.HubModel.from_pretrained({repository!r}).model
model.recommend(["a user id"], k=10)
model.add_items("new-items.csv")
```"""


class HubModel(ModelHubMixin, library_name="warmstart", tags=["recommendation", "cold-start"]):
    """A fitted recommender with the methods that users of the hub know.

    ``save_pretrained(folder)``, ``from_pretrained(folder or repository)`` and
    ``push_to_hub(repository)`` take the arguments of ``huggingface_hub.ModelHubMixin``. What the
    model card cannot read from the artefact comes as ``model_card_kwargs``, see
    ``generate_model_card``.

    Args:
        model: fitted.
    """

    def __init__(self, model: Recommender) -> None:
        self.model = model

    def push_to_hub(self, repo_id: str, *, private: bool | None = True, **options: Any) -> str:
        """Upload artefact and model card; see ``ModelHubMixin.push_to_hub``.

        Args:
            repo_id: such as "shop/new-books".
            private: a new repository is private by default, since the artefact holds user ids,
                histories and item texts.
            options: further arguments of the mixin.

        Returns:
            Address of the commit.

        Raises:
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        check_process()
        return super().push_to_hub(repo_id, private=private, **options)

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        model_card_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> str | None:
        """Write artefact and model card; see ``ModelHubMixin.save_pretrained``.

        A ``README.md`` that this function wrote is written anew; one that was edited is kept, with
        a warning.

        Args:
            save_directory: a new or empty folder, or one with an artefact, which is replaced.
            model_card_kwargs: arguments of ``generate_model_card``.
            options: further arguments of the mixin.

        Raises:
            ArtefactError: the folder has other content.
            ConfigError: an argument of the model card has the wrong type.
        """
        arguments = model_card_kwargs or {}
        card = self.generate_model_card(**arguments)  # before anything is written
        written = Path(save_directory) / "README.md"
        kept = written.is_file() and not _is_generated(written.read_bytes())
        self.model.save(save_directory)
        if kept:
            warnings.warn(
                f"{written} was edited and is kept; it may describe another model or other figures",
                DataWarning,
                stacklevel=2,
            )
        else:
            with atomic_file(written) as path:
                path.write_bytes(_signed(card.content))
        return super().save_pretrained(
            save_directory, model_card_kwargs=model_card_kwargs, **options
        )

    def generate_model_card(
        self,
        *,
        repository: str = "FOLDER-OR-REPOSITORY",
        data: str | None = None,
        figures: Comparison | None = None,
        license: str | None = None,
    ) -> ModelCard:
        """Write the model card from the artefact.

        Args:
            repository: name in the example of use.
            data: what the model was fitted on, in words; the card counts users and items itself.
            figures: measured results, from ``compare``; the card does not invent any.
            license: of the artefact, such as "cc-by-4.0"; the licence of its data decides.

        Raises:
            ConfigError: an argument has the wrong type.
        """
        for name, value in {"repository": repository, "data": data, "license": license}.items():
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"model card: {name} is {shortened(value)}; allowed: a text")
        if figures is not None and not isinstance(figures, Comparison):
            raise ConfigError(
                f"model card: figures are {shortened(figures)}; allowed: what compare returns"
            )
        card_data = ModelCardData(
            library_name="warmstart",
            tags=["recommendation", "cold-start", self.model.name],
            license=license,
        )
        sections = {
            "Use": _USE.format(repository=repository),
            "Data": self._data(data),
            "Method": self._method(),
            "Settings": self._settings(),
            "Figures": "None were given." if figures is None else f"```\n{figures.text()}\n```",
            "Licence": license or "Not stated: that of the data it was fitted on decides.",
        }
        body = "\n\n".join(f"## {title}\n{text}" for title, text in sections.items())
        summary = (
            f"A recommender, method `{self.model.name}`, fitted by warmstart {__version__}. New "
            "items can be added without retraining."
        )
        return ModelCard(
            f"---\n{card_data.to_yaml()}\n---\n\n# {self.model.name}\n\n{summary}\n\n{body}\n"
        )

    def _data(self, words: str | None) -> str:
        fitted = self.model.fitted
        n_items, n_warm = len(fitted.catalogue), int(fitted.warm.sum())
        counts = (
            f"{len(fitted.user_ids)} users, {n_items} items ({n_warm} with interactions, "
            f"{n_items - n_warm} without), {fitted.positives.nnz} interactions; texts of items are "
            f"made of {', '.join(fitted.catalogue.text_columns) or 'no column'}."
        )
        warning = (
            "**The artefact holds the ids and histories of these users and the texts of the items: "
            "publish only what may be published.**"
        )
        return "\n\n".join(filter(None, (words, counts, warning)))

    def _method(self) -> str:
        lines = [f"`{self.model.name}`: {_first_line(type(self.model))}"]
        for role, spec in self.model.fitted.lms.items():
            lines.append(
                f"- {role}: {spec['source']}, {spec['kind']}, {spec['dtype']}, sha256 of the "
                f"weights {spec['weights_sha256']}"
            )
        return "\n".join(lines)

    def _settings(self) -> str:
        config = json.dumps(self.model.portable_config(), indent=2)
        choices = json.dumps(self.model.fitted.choices, indent=2)
        return (
            f"Configured:\n```json\n{config}\n```\n\nChosen by the fit, on a validation part if it "
            f"had one:\n```json\n{choices}\n```"
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        """Nothing is left to write: ``save_pretrained`` has saved the artefact."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        encoder: Encoder | None = None,
        lm: Causal | None = None,
        revision: str | None = None,
        **download: Any,
    ) -> "HubModel":
        """Load a recommender from a folder or a repository of the hub.

        Args:
            pretrained_model_name_or_path: the folder, or the name of the repository.
            encoder: see ``load_model``.
            lm: see ``load_model``.
            revision: branch, tag or commit of the repository; None takes the newest.
            download: ``token``, ``cache_dir``, ``force_download``, ``local_files_only`` of the
                library.

        Raises:
            ArtefactError: see ``load_model``.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            name = str(pretrained_model_name_or_path)
            folder = Path(snapshot_download(repo_id=name, revision=revision, **download))
        return cls(load_model(folder, encoder=encoder, lm=lm))


def _signed(text: str) -> bytes:
    """The bytes of a card with a line at the end by which an edited one is told."""
    content = text.encode("utf-8", "replace")
    return content + _SIGNATURE + hashlib.sha256(content).hexdigest().encode() + b" -->\n"


def _is_generated(content: bytes) -> bool:
    text, found, rest = content.rpartition(_SIGNATURE)
    return not content or (found != b"" and rest[:64] == hashlib.sha256(text).hexdigest().encode())


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]
