"""Build tokenizers and small networks with random weights, and write model folders.

A folder written here is an ordinary model folder: ``load_encoder`` loads it like a downloaded one.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warmstart.errors import ConfigError, missing_extra
from warmstart.lm.exclusive import exclusive_transformers

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


def word_tokenizer(words: Iterable[str], *, closed: bool = True) -> "Tokenizer":
    """Build a tokenizer with one token per lower-case word; other words become ``[UNK]``.

    A text becomes ``[CLS] words [SEP]``, or ``[CLS] words`` if not ``closed``.
    """
    tokenizers = _tokenizers()
    distinct = sorted({word.lower() for word in words})
    vocabulary = {word: i for i, word in enumerate([PAD, UNKNOWN, START, END, *distinct])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, UNKNOWN))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{START} $A {END}" if closed else f"{START} $A",
        special_tokens=[(START, 2), (END, 3)],
    )
    return tokenizer


def byte_pair_tokenizer(
    texts: Sequence[str], vocabulary_size: int, whole: Sequence[str] = ()
) -> "Tokenizer":
    """Train a byte-level BPE tokenizer on ``texts``; it can encode any text.

    A text becomes ``[CLS] text``, because a causal LM needs a first token. Each of ``whole``, such
    as a title with the space before it, is one token, besides the vocabulary of that size.

    Raises:
        ConfigError: the vocabulary is too small for the 256 bytes and four special tokens.
    """
    if vocabulary_size < 260:
        raise ConfigError(
            "vocabulary_size must be at least 260 (256 bytes and 4 special tokens), "
            f"got {vocabulary_size}"
        )
    tokenizers = _tokenizers()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD, UNKNOWN, START, END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([tokenizers.AddedToken(text, normalized=False) for text in whole])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, 2)]
    )
    return tokenizer


def bert(
    tokenizer: "Tokenizer", *, width: int, layers: int, heads: int, max_tokens: int
) -> "PreTrainedModel":
    """Create a BERT encoder with weights from torch's global random state."""
    transformers = _transformers()
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=max_tokens,
        pad_token_id=0,
    )
    with exclusive_transformers():
        return transformers.BertModel(config)


def llama(
    tokenizer: "Tokenizer", *, width: int, layers: int, heads: int, max_tokens: int
) -> "PreTrainedModel":
    """Create a causal Llama with tied embeddings and weights from torch's global random state."""
    transformers = _transformers()
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=max_tokens,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    with exclusive_transformers():
        return transformers.LlamaForCausalLM(config)


def save_lm(
    folder: Path, model: "PreTrainedModel", tokenizer: "Tokenizer", max_tokens: int
) -> Path:
    """Write config, tokenizer and safetensors weights to a model folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_transformers():
        model.save_pretrained(folder)
    as_transformers_tokenizer(tokenizer, max_tokens).save_pretrained(folder)
    return folder


def as_transformers_tokenizer(tokenizer: "Tokenizer", max_tokens: int) -> "PreTrainedTokenizerBase":
    """Wrap the tokenizer in the interface of transformers."""
    return _transformers().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_tokens,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        bos_token=START,
        eos_token=END,
    )


def _tokenizers():  # noqa: ANN202 - a module
    try:
        import tokenizers
    except ImportError:
        raise missing_extra("tokenizers", "lm") from None
    return tokenizers


def _transformers():  # noqa: ANN202 - a module
    try:
        import transformers
    except ImportError:
        raise missing_extra("transformers", "lm") from None
    return transformers
