"""Cross-encoder judge: an encoder LM encodes the item and the user's history as one text."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.lm.load import LanguageModel
from warmstart.lm.texts import TokenizedTexts, tokenize
from warmstart.simulate.funnel.judge import Judge, JudgeConfig, PairBatcher
from warmstart.simulate.funnel.neighbours import NEIGHBOUR_COUNTS
from warmstart.simulate.funnel.training_pairs import Pairs
from warmstart.train.logistic_regression import fit_logistic
from warmstart.train.seed import torch_seed

_HIDDEN_UNITS = 64
_MIN_STD = 1e-6  # for constant features


class CrossEncoder(Judge):
    """Encodes "item [SEP] the user's history"; its head also gets the features of the pair.

    The features are the similarities by which the history was chosen, the user's activity, and the
    neighbourhood evidence. The text carries them poorly, or not at all since it is cut at L items.
    Tuning starts from a logistic regression on the features, to which the text adds nothing.
    Without that start the judge was worse than one of these similarities alone.
    """

    def __init__(self, lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> None:
        super().__init__(lm, config, rng)
        with torch_seed(rng):
            last = nn.Linear(_HIDDEN_UNITS, 1)
            n_features = config.history_length + 1 + len(NEIGHBOUR_COUNTS)
            hidden = nn.Linear(lm.width + n_features, _HIDDEN_UNITS)
            self.text_head = nn.Sequential(hidden, nn.GELU(), last).to(lm.device)
            self.feature_head = nn.Linear(n_features, 1).to(lm.device)
        with torch.no_grad():  # at the start the text contributes nothing
            last.weight.zero_()
            last.bias.zero_()
        self.separator = f" {getattr(lm.tokenizer, 'sep_token', None) or '|'} "

    def head_parameters(self) -> dict[str, nn.Parameter]:
        heads = {"text": self.text_head, "features": self.feature_head}
        return {
            f"{name}.{k}": weight
            for name, head in heads.items()
            for k, weight in head.named_parameters()
        }

    def initialise(self, pairs: Pairs, labels: np.ndarray) -> None:
        features = pairs.features()
        mean, std = features.mean(axis=0), features.std(axis=0) + _MIN_STD
        inputs = np.column_stack([np.ones(len(features)), (features - mean) / std])
        intercept, *weights = fit_logistic(inputs, labels)
        scaled = np.array(weights) / std
        with torch.no_grad():
            self.feature_head.weight.copy_(torch.from_numpy(scaled[None]))
            self.feature_head.bias.fill_(intercept - float(scaled @ mean))

    def prepare(self, pairs: Pairs) -> "_JointTexts":
        texts = [
            f"{pairs.texts[item]}{self.separator}{'; '.join(pairs.history_texts(row))}"
            for row, item in enumerate(pairs.items)
        ]
        return _JointTexts(self, tokenize(self.lm, texts), torch.from_numpy(pairs.features()))

    def score(self, vectors: Tensor, features: Tensor) -> Tensor:
        """Log-odds from unit vectors (batch, width) and features (batch, features)."""
        # Entries of a unit vector have size width^-1/2, the features have size 1.
        scaled = vectors * vectors.shape[1] ** 0.5
        from_text = self.text_head(torch.cat([scaled, features], dim=1))
        return (from_text + self.feature_head(features)).squeeze(1)


class _JointTexts(PairBatcher):
    def __init__(self, judge: CrossEncoder, tokens: TokenizedTexts, features: Tensor) -> None:
        self.judge, self.tokens, self.features = judge, tokens, features

    def batches(self, size: int) -> Iterator[np.ndarray]:
        return self.tokens.sorted_batches(size)

    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        return self.tokens.shuffled_batches(np.arange(len(self.tokens)), size, rng)

    def log_odds(self, rows: np.ndarray) -> Tensor:
        device = self.judge.lm.device
        vectors = self.judge.tunable(self.tokens.batch(rows, device))
        return self.judge.score(vectors, self.features[torch.from_numpy(rows)].to(device))
