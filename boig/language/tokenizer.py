"""The tokenizer of the default BoigLLM: short sequences, and numbers that are single tokens.

A byte-level BPE trained on the text of the posts, on top of a fixed vocabulary: each two-decimal number 0.00–1.00, each
integer 0–100, each palette name, and the JSON between them, is one token. A verbalization with three colors and one
object takes about 45 tokens instead of 160, and a number is one decision of the model instead of four.
Any text can be spelled: the bytes are the base of the BPE.
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from boig.brief import BUCKETS
from boig.language.prompts import MONTHS, WEEKDAYS
from boig.verbalizer.palette import NAMES

PAD, END = "<|pad|>", "<|end|>"
BLANK = "Ġ"
"""How a byte-level vocabulary spells a blank."""
DECIMALS: tuple[str, ...] = tuple(f"{i / 100:.2f}" for i in range(101))
INTEGERS: tuple[str, ...] = tuple(str(i) for i in range(101))
NUMBERS = 101
"""Of each kind."""
SKELETON: tuple[str, ...] = (
    # the context, in the order of boig.language.prompts
    '{"task":"content","account":"', '{"task":"behavior","account":"', '","industry":"', '","time":"', 'h","caption":"',
    '","picture":{"colors":[{"name":"', '","picture":{"colors":[', "}}",
    *(f'","bucket":"{bucket}","kpi":' for bucket in BUCKETS), *(f'{{"bucket":"{bucket}","kpi":' for bucket in BUCKETS),
    # the verbalization, in the order of boig.verbalizer.form
    '{"colors":[{"name":"', '{"colors":[', '","coverage":', '},{"name":"',
    '}],"tones":{"warm":', '],"tones":{"warm":', ',"neutral":', ',"cool":',
    '},"objects":[{"label":"', '},"objects":[],"caption":"', '","box":[', ']},{"label":"', ']}],"caption":"', '"}',
)  # fmt: skip
DATES: tuple[str, ...] = (*(f"-{month}-" for month in MONTHS), *(f"-{day}-" for day in WEEKDAYS))
FIXED: tuple[str, ...] = (*DECIMALS, *INTEGERS, *NAMES, *SKELETON, *DATES)
_MIN_VOCABULARY = 2 + 256 + len(FIXED)


def train(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer for these texts.

    Args:
        texts: free text as it occurs: accounts, industries, captions, labels. The fixed vocabulary needs no examples.
        vocab_size: tokens in all; what the bytes and the fixed vocabulary leave goes to frequent pieces of the texts.

    Raises:
        ValueError: `vocab_size` does not hold the bytes and the fixed vocabulary.
    """
    if vocab_size < _MIN_VOCABULARY:
        raise ValueError(f"train_boigllm vocab_size is {vocab_size}, needs at least {_MIN_VOCABULARY} for bytes and numbers; raise it")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(FIXED),
        min_frequency=2,
        special_tokens=[PAD, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in FIXED])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False)


def number_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, list[tuple[int, float]]]:
    """(token id, value 0–1) of the numbers that are one token: `decimal` 0.00–1.00, `integer` 0–100 as hundredths.

    Fewer than `NUMBERS` of each for a tokenizer that spells its numbers.
    """
    vocabulary = tokenizer.get_vocab()
    families = {"decimal": DECIMALS, "integer": INTEGERS}
    return {name: [(vocabulary[n], i / 100) for i, n in enumerate(numbers) if n in vocabulary] for name, numbers in families.items()}
