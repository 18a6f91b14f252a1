"""Settings of lists that a causal LM plans and writes."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from warmstart.backbones import BackboneConfig
from warmstart.backbones.ease import EaseConfig
from warmstart.config import Config
from warmstart.lm.lora import LoRAConfig
from warmstart.lm.supervised import SupervisedConfig

Plan: TypeAlias = Literal["cascade", "without_filling", "one_pass", "absent"]
Decoding: TypeAlias = Literal["genres", "titles", "free"]


class PromptConfig(Config):
    """Words of the prompts; an item is told as ``genre: title``, one on each line.

    Attributes:
        introduction: before the items that the user had.
        number_hint: how many genres are wanted; ``{number}`` stands for the number.
        genres_hint: which genres are wanted; ``{genres}`` stands for their names.
        ask_genres: asks for genres.
        ask_places: asks for the genre of each place; ``{length}`` stands for their number.
        ask_items: asks for items; ``{length}`` stands for their number.
        max_tokens: a prompt and its answer have at most so many tokens; the oldest items are cut.
        title_tokens: a title is cut to so many tokens.
    """

    introduction: str = "These are items that a person liked, with their genres, oldest first."
    number_hint: str = "The next list has {number} different genres."
    genres_hint: str = "The next list has these genres: {genres}."
    ask_genres: str = "Name them, the most frequent one first."
    ask_places: str = "Name the genre of each of its {length} places."
    ask_items: str = "Name the next {length} items that this person will like."
    max_tokens: int = Field(default=768, ge=2)
    title_tokens: int = Field(default=24, ge=1)


class AugmentationConfig(Config):
    """More training windows; see ``genre_planning.augmentation``.

    Attributes:
        noise: add each window with another genre, or with other items.
        noise_rate: probability that an item is another one.
        numbers: add each window with another number of genres.
        most_genres: highest number of genres that is drawn; lists have ten places.
    """

    noise: bool = True
    noise_rate: float = Field(default=0.3, ge=0, le=1)
    numbers: bool = True
    most_genres: int = Field(default=10, ge=1)


class EpochsConfig(Config):
    """Maximum number of epochs of each task; with validation the best one is kept.

    Attributes:
        genres: of the prediction of genres.
        places: of the filling of places.
        items: of the prediction of items.
    """

    genres: int = Field(default=3, ge=1)
    places: int = Field(default=3, ge=1)
    items: int = Field(default=3, ge=1)


class TaskTrainingConfig(SupervisedConfig):
    """Training of the adapters; see ``SupervisedConfig``.

    Attributes:
        epochs: of each task.
        patience: validations without improvement before training stops.
        loss: learn the tokens of the answer, or all of prompt and answer, as published. What stands
            in the prompt cannot be answered, so its loss only takes part of the adapter.
    """

    epochs: EpochsConfig = EpochsConfig()
    patience: int = Field(default=2, ge=1)
    loss: Literal["answer", "all"] = "answer"


class ShortlistConfig(Config):
    """A collaborative model chooses which items may be written; only items with interactions.

    Attributes:
        backbone: kind and settings of the model; one that reads histories of unknown users.
        items: items of which the LM chooses at each place: of those that may stand there, the ones
            with the highest scores. 1 leaves the LM only the genres and their places.
    """

    backbone: BackboneConfig = Field(default_factory=EaseConfig)
    items: int = Field(default=5, ge=1)


class DLCRecConfig(Config):
    """Settings of dlcrec.

    Attributes:
        plan: how a list comes about. "cascade": genres, then the genre of each place, then items,
            each by its own adapter; "without_filling": items right after the genres; "one_pass":
            genres and items in one answer; "absent": items only, with the number of genres in the
            prompt.
        decoding: what is written. "genres": only titles of the catalogue, each once, that give the
            list exactly the genres asked for; "titles": only titles of the catalogue, each once,
            whatever their genres; "free": any text, which means the item with the nearest title,
            as published; it needs a text encoder.
        first_genre_only: whether an item is told with its first genre, as published, or with any.
        history_length: newest items of a history that are told.
        list_length: items of a list in training.
        hidden_rate: share of the training prompts for items that hide the genres, so that items
            can be scored without any.
        augmentation: more training windows.
        prompts: words.
        lora: adapters, one for each task.
        training: of each adapter.
        max_windows: training windows at most, drawn from all.
        shortlist: restricts what may be written; None allows all.
        depth: items that are ranked where no genres are asked for; all others share a score below.
        beam: beginnings of titles that this search keeps.
    """

    plan: Plan = "cascade"
    decoding: Decoding = "genres"
    first_genre_only: bool = False
    history_length: int = Field(default=10, ge=1)
    list_length: int = Field(default=10, ge=1)
    hidden_rate: float = Field(default=0.1, ge=0, lt=1)
    augmentation: AugmentationConfig = AugmentationConfig()
    prompts: PromptConfig = PromptConfig()
    lora: LoRAConfig = LoRAConfig(rank=8, alpha=16, dropout=0.05)
    training: TaskTrainingConfig = TaskTrainingConfig()
    max_windows: int = Field(default=10_000, ge=1)
    shortlist: ShortlistConfig | None = None
    depth: int = Field(default=50, ge=1)
    beam: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _plan_suits_decoding(self) -> Self:
        if self.plan == "absent" and self.decoding == "genres":
            raise ValueError(
                "plan 'absent' chooses no genres, so decoding 'genres' has none to keep to; "
                "allowed with it: decoding 'titles' or 'free'"
            )
        return self

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        if self.lora.rank == 0:
            raise ValueError("lora.rank 0 leaves nothing to train; allowed: at least 1")
        return self
