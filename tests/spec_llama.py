"""A small LLaMA with seeded random weights, laid out in memory by hand: what the tests of the spec's model chapter run.

It is written from the layout in spec §3, apart from the spec's own readers.
"""

import random
import struct
from collections.abc import Callable
from itertools import product

import numpy as np
from attrs import evolve, frozen
from opml_spec.machine.memory import MODEL, STATE, Memory
from opml_spec.model.layout import HEADER, OUTPUT, OUTPUT_TOKENS, REQUEST, Header, encode_tape, encode_words
from opml_spec.model.llama import Addresses, Layer, Shape, Weights, llama_tape

Q8_0, Q4_0, Q4_1 = 0, 1, 2
SMALL = Shape(
    dim=64, hidden_dim=96, layers=2, heads=4, kv_heads=2, head_size=16, context=16, vocabulary=40, r=14, eps_q48=round(1e-5 * 2**48)
)


def block_matrix(form: int, weights: np.ndarray, scales: np.ndarray, minimums: np.ndarray | None = None) -> bytes:
    """Stored weights (rows, columns), halfs (rows, columns/32) → the matrix in memory."""
    rows, columns = weights.shape
    groups = columns // 32
    block = {Q8_0: 272, Q4_0: 144, Q4_1: 160}[form]
    out = bytearray(-(-rows // 8) * groups * block)
    for row, group in product(range(rows), range(groups)):
        tile, lane = divmod(row, 8)
        base = (tile * groups + group) * block
        for c in range(32):
            w = int(weights[row, 32 * group + c])
            if form == Q8_0:
                out[base + c // 2 * 16 + lane * 2 + c % 2] = w % 256
            else:
                low = c % 16
                out[base + low // 2 * 16 + lane * 2 + low % 2] |= w << (0 if c < 16 else 4)
        halfs = base + (256 if form == Q8_0 else 128)
        struct.pack_into("<e", out, halfs + 2 * lane, scales[row, group])
        if minimums is not None:
            struct.pack_into("<e", out, halfs + 16 + 2 * lane, minimums[row, group])
    return bytes(out)


@frozen
class Llama:
    """The model's memory and the same weights as floats, by name."""

    shape: Shape
    memory: Memory
    addresses: Addresses
    floats: dict[str, np.ndarray]
    ops: int


def make_llama(
    shape: Shape = SMALL, seed: int = 1, form: Callable[[str], int] = lambda name: Q8_0, weights_at: int = MODEL + (1 << 29), **header: int
) -> Llama:
    """weights_at: where the weights and the RoPE table begin"""
    rng = np.random.default_rng(seed)
    segments: dict[int, bytes] = {}
    floats: dict[str, np.ndarray] = {}
    weights_next, state_next = weights_at, STATE

    def place(data: bytes) -> int:
        nonlocal weights_next
        address = weights_next
        segments[address] = data
        weights_next += -(-len(data) // 32) * 32
        return address

    def reserve(size: int) -> int:
        nonlocal state_next
        address = state_next
        state_next += -(-size // 32) * 32
        return address

    def matrix(name: str, rows: int, columns: int) -> Weights:
        kind, wide = form(name), -(-columns // 32) * 32
        low, high = {Q8_0: (-128, 128), Q4_0: (0, 16), Q4_1: (0, 16)}[kind]
        stored = rng.integers(low, high, (rows, wide))
        spread = 1.0 / np.sqrt(columns) / {Q8_0: 74, Q4_0: 4.6, Q4_1: 4.6}[kind]
        scales = (rng.uniform(0.5, 1.5, (rows, wide // 32)) * spread * rng.choice([-1, 1], (rows, wide // 32))).astype(np.float16)
        minimums = (-7.5 * scales.astype(np.float64)).astype(np.float16) if kind == Q4_1 else None
        zero = {Q8_0: 0, Q4_0: 8, Q4_1: 0}[kind]
        values = (stored - zero) * np.repeat(scales.astype(np.float64), 32, axis=1)
        if minimums is not None:
            values = values + np.repeat(minimums.astype(np.float64), 32, axis=1)
        floats[name] = values[:, :columns]
        return Weights(place(block_matrix(kind, stored, scales, minimums)), kind)

    def norm(name: str) -> int:
        weights = rng.integers(1 << 23, 1 << 25, shape.dim)
        floats[name] = weights / 2**24
        return place(weights.astype("<i4").tobytes())

    q_rows, kv_rows = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    cache, exponents = 2 * kv_rows * shape.context, shape.kv_heads * shape.context
    angles = np.arange(shape.context)[:, None] * 10000.0 ** (-2 * np.arange(shape.head_size // 2) / shape.head_size)
    table = np.rint(np.stack([np.cos(angles), np.sin(angles)], axis=-1) * 2**30).astype("<i4")
    layers = tuple(
        Layer(
            attention_norm=norm(f"{i}.attention_norm"),
            wq=matrix(f"{i}.wq", q_rows, shape.dim),
            wk=matrix(f"{i}.wk", kv_rows, shape.dim),
            wv=matrix(f"{i}.wv", kv_rows, shape.dim),
            wo=matrix(f"{i}.wo", shape.dim, q_rows),
            feed_forward_norm=norm(f"{i}.feed_forward_norm"),
            w_gate=matrix(f"{i}.w_gate", shape.hidden_dim, shape.dim),
            w_up=matrix(f"{i}.w_up", shape.hidden_dim, shape.dim),
            w_down=matrix(f"{i}.w_down", shape.dim, shape.hidden_dim),
            keys=reserve(cache),
            key_exponents=reserve(exponents),
            values=reserve(cache),
            value_exponents=reserve(exponents),
        )
        for i in range(shape.layers)
    )
    addresses = Addresses(
        embedding=matrix("embedding", shape.vocabulary, shape.dim),
        rope=place(table.tobytes()),
        layers=layers,
        final_norm=norm("final_norm"),
        classifier=matrix("classifier", shape.vocabulary, shape.dim),
        residual=reserve(4 * shape.dim),
        activation=reserve(32 + 2 * -(-max(shape.dim, shape.hidden_dim, q_rows) // 32) * 32),
        q=reserve(4 * (q_rows + kv_rows)),
        v=reserve(4 * kv_rows),
        branch=reserve(4 * shape.dim),
        gate=reserve(4 * shape.hidden_dim),
        up=reserve(4 * shape.hidden_dim),
        logits=reserve(4 * shape.vocabulary),
    )
    tape = llama_tape(shape, addresses)
    words = Header(ops=len(tape), tape=HEADER + 4096, context=shape.context, vocabulary=shape.vocabulary)
    segments[HEADER] = encode_words(evolve(words, **header).words)
    segments[HEADER + 4096] = encode_tape(tape)
    return Llama(shape, Memory.from_segments(segments), addresses, floats, len(tape))


def with_request(memory: Memory, stages: int, request: bytes) -> Memory:
    """The io quarter as the contract makes it."""
    return memory.store_bytes(REQUEST, struct.pack("<QQ", stages, len(request)) + bytes(16) + request)


def text_request(prompt: list[int], new_tokens: int, temperature_q16: int = 0, seed: int = 0) -> bytes:
    return struct.pack(f"<IIIIQ{len(prompt)}I", len(prompt), new_tokens, temperature_q16, 0, seed, *prompt)


def output(memory: Memory) -> tuple[list[int], int]:
    """The tokens, and whether the output is done."""
    count, done = struct.unpack("<QQ", memory.load_bytes(OUTPUT, 16))
    return list(struct.unpack(f"<{count}I", memory.load_bytes(OUTPUT_TOKENS, 4 * count))), done


def float_logits(model: Llama, tokens: list[int]) -> np.ndarray:
    """The textbook LLaMA on the same weights in float64: the logits after each token."""
    shape, w = model.shape, model.floats

    def rms(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean() + shape.eps_q48 / 2**48) * weight

    def rope(x: np.ndarray, position: int) -> np.ndarray:
        angle = position * 10000.0 ** (-2 * np.arange(shape.head_size // 2) / shape.head_size)
        z = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angle)
        return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)

    keys: dict[int, list[np.ndarray]] = {i: [] for i in range(shape.layers)}
    values: dict[int, list[np.ndarray]] = {i: [] for i in range(shape.layers)}
    out = []
    for position, token in enumerate(tokens):
        x = w["embedding"][token]
        for i in range(shape.layers):
            h = rms(x, w[f"{i}.attention_norm"])
            q = rope((w[f"{i}.wq"] @ h).reshape(shape.heads, -1), position)
            keys[i].append(rope((w[f"{i}.wk"] @ h).reshape(shape.kv_heads, -1), position))
            values[i].append((w[f"{i}.wv"] @ h).reshape(shape.kv_heads, -1))
            heads = []
            for head in range(shape.heads):
                kv = head // (shape.heads // shape.kv_heads)
                scores = np.array([key[kv] @ q[head] for key in keys[i]]) / np.sqrt(shape.head_size)
                p = np.exp(scores - scores.max())
                heads.append(sum(a * value[kv] for a, value in zip(p / p.sum(), values[i], strict=True)))
            x = x + w[f"{i}.wo"] @ np.concatenate(heads)
            h = rms(x, w[f"{i}.feed_forward_norm"])
            gate = w[f"{i}.w_gate"] @ h
            x = x + w[f"{i}.w_down"] @ (gate / (1 + np.exp(-gate)) * (w[f"{i}.w_up"] @ h))
        out.append(w["classifier"] @ rms(x, w["final_norm"]))
    return np.array(out)


def random_tokens(count: int, vocabulary: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(vocabulary) for _ in range(count)]
