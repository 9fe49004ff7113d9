"""Serves a small llama model of random weights with llama.cpp, inside the engine's own environment.

    engine.py MODEL.gguf CONTEXT

Makes the model unless it is there, and beside it MODEL-vectors.gguf, which makes vectors, and MODEL-talker.gguf, whose
template has no place for tools. Serves the first on a loopback port, prints `{"url"}` and ends when standard input
closes.

The model babbles a few words. Asked by a user who says "tool" it begins a tool call instead, which the engine's
grammar then keeps to the offered tools and to valid arguments.
"""

import json
import math
import sys
from pathlib import Path

import gguf
import numpy
import xllamacpp

WIDTH, HEADS, HIDDEN = 32, 2, 64
TRAINED_CONTEXT = 131072
SEED = 20
STRONG = 10.0
NEVER = -200.0
"""A bias that keeps a token out of every text; the grammar can still ask for it."""

WORDS = ["the", "a", "tea", "agent", "likes", "remembers", "writes", "reads", "and", "is", "blue", "quiet", "morning"]
SAID_BY_CHANCE = {"</s>": 3.0, '"': 2.0}
"""So that a text and a string each end after some tens of tokens."""

TEMPLATE = """\
{%- if tools %}<|im_start|>system
You may call tools by <tool_call>{"name": ..., "arguments": ...}</tool_call>.
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{%- if tools and messages[-1].role == "user" and "tool" in messages[-1].content %}!{% endif %}{% endif %}"""
TALKER_TEMPLATE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
CALLS_AFTER = "!"
"""The token after which the model begins a tool call; it is not said otherwise."""

Token = tuple[str, float, gguf.TokenType]
"""Text, score and kind."""


def vocabulary() -> list[Token]:
    control = [(token, 0.0, gguf.TokenType.CONTROL) for token in ("<s>", "</s>", "<|im_start|>", "<|im_end|>")]
    markers = [(token, 0.0, gguf.TokenType.USER_DEFINED) for token in ("<tool_call>", "</tool_call>")]
    every_byte = [(f"<0x{number:02X}>", -100.0, gguf.TokenType.BYTE) for number in range(256)]
    characters = [(chr(code), -10.0, gguf.TokenType.NORMAL) for code in range(33, 127)]
    words = [(f"▁{word}", -5.0, gguf.TokenType.NORMAL) for word in WORDS]
    unknown = ("<unk>", 0.0, gguf.TokenType.UNKNOWN)
    return [unknown, *control, *markers, *every_byte, ("▁", -10.0, gguf.TokenType.NORMAL), *characters, *words]


def tensors(tokens: list[Token]) -> dict[str, numpy.ndarray]:
    """Random weights, but for two dimensions no layer touches.

    Dimension 0 is the same for every token, so its column of the output matrix is a bias. Dimension 1 is set by one
    token only, so its column is what that token is followed by.
    """
    names = [text for text, _, _ in tokens]
    made = {name: weights(name, shape) for name, shape in shapes(len(tokens)).items()}
    for untouched in ("blk.0.attn_output.weight", "blk.0.ffn_down.weight"):
        made[untouched][:2, :] = 0.0
    made["token_embd.weight"][:, 0] = STRONG
    made["token_embd.weight"][:, 1] = [STRONG if name == CALLS_AFTER else 0.0 for name in names]
    spoken = {text for text, _, kind in tokens if kind is gguf.TokenType.NORMAL} - {CALLS_AFTER}
    biases = {**dict.fromkeys(names, NEVER), **dict.fromkeys(spoken, 0.0), **SAID_BY_CHANCE}
    made["output.weight"][:, 0] = [biases[name] / math.sqrt(WIDTH) for name in names]
    made["output.weight"][:, 1] = [-NEVER if name == "<tool_call>" else 0.0 for name in names]
    return made


def shapes(tokens: int) -> dict[str, tuple[int, ...]]:
    square = {f"blk.0.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
    return {
        "token_embd.weight": (tokens, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (tokens, WIDTH),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.ffn_norm.weight": (WIDTH,),
        "blk.0.ffn_gate.weight": (HIDDEN, WIDTH),
        "blk.0.ffn_up.weight": (HIDDEN, WIDTH),
        "blk.0.ffn_down.weight": (WIDTH, HIDDEN),
        **square,
    }


def weights(name: str, shape: tuple[int, ...]) -> numpy.ndarray:
    if "norm" in name:
        return numpy.ones(shape, dtype=numpy.float32)
    return numpy.random.default_rng([SEED, *name.encode()]).normal(0.0, 0.05, shape).astype(numpy.float32)


def write_model(path: Path, template: str = TEMPLATE, pooling: gguf.PoolingType | None = None) -> None:
    tokens = vocabulary()
    unfinished = path.with_suffix(".part")
    writer = gguf.GGUFWriter(str(unfinished), "llama")
    describe(writer, tokens)
    writer.add_chat_template(template)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    for name, matrix in tensors(tokens).items():
        writer.add_tensor(name, matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(path)


def describe(writer: gguf.GGUFWriter, tokens: list[Token]) -> None:
    names = [text for text, _, _ in tokens]
    writer.add_name("random")
    writer.add_context_length(TRAINED_CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(names)
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_bos_token_id(names.index("<s>"))
    writer.add_eos_token_id(names.index("</s>"))
    writer.add_eot_token_id(names.index("<|im_end|>"))
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    # With the usual space put before every text, the engine refuses its own tool grammars.
    writer.add_add_space_prefix(False)


def serve(path: Path, context: int) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {"random"}
    params.n_ctx = context
    params.n_predict = 2000
    params.n_gpu_layers = 0
    params.fit_params = False
    params.warmup = False
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.sampling.seed = SEED
    params.sampling.temp = 1.0
    params.sampling.top_k = 0
    params.sampling.top_p = 1.0
    params.sampling.min_p = 0.0
    return xllamacpp.Server(params)


def main() -> None:
    path = Path(sys.argv[1])
    if not path.exists():
        write_model(path.with_stem(f"{path.stem}-vectors"), pooling=gguf.PoolingType.MEAN)
        write_model(path.with_stem(f"{path.stem}-talker"), template=TALKER_TEMPLATE)
        write_model(path)
    server = serve(path, int(sys.argv[2]))
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()


main()
