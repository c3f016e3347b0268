"""Vectors of runs: stage by stage as the machine runs them, and whole runs of a model with the run hash after every stage.

The stages are those of a small program that ends in each possible way.

*Source*: spec §3 and §4.
"""

from collections.abc import Iterator
from random import Random

from opml_spec.dispute.honest import trace
from opml_spec.hashing import hash_pair
from opml_spec.machine.memory import CARRY_HEIGHT, QUARTER_HEIGHT, STATE, Memory
from opml_spec.machine.merkle import Node, Pair, hash_of
from opml_spec.machine.state import state_hash
from opml_spec.model.layout import OUTPUT, REQUEST, REQUEST_BYTES, Header
from opml_spec.runs.run import first_state, io_quarter, run_machine, run_meaning, stage_memory

from opml_fuzz.models.tiny_models import POSITIONS, TEMPERATURE_Q16, llama, text_request
from opml_fuzz.vectors.notation import Json, make_case, memory_text
from opml_fuzz.vectors.small_program import ENDS, model_memory, quarters


def machine_stages(rng: Random) -> Iterator[Json]:
    """Yields three stages in a row for each way to end; after a failure the run stays failed."""
    for name, words in ENDS.items():
        for exit_code in (0, 1):
            segments, data, stages = model_memory(rng, words), bytes([exit_code]), 3
            model, state = quarters(segments)
            told = trace(model, state, stages, data)
            for stage, (run, machines) in enumerate(zip(told.runs, told.stages, strict=False)):
                after = run_machine(model, run, stage, limit=1 << 10)
                end = {"steps": len(machines) - 1, "final_state_hash": state_hash(machines[-1]).hex()} if machines else {"steps": 0}
                post = {"run_hash": after.run_hash.hex(), "carry_root": hash_of(after.carry).hex(), "status": int(after.status), **end}
                pre = {"memory": memory_text(segments | carry_segments(run.carry)), "status": int(run.status), "stage": stage}
                yield {"name": f"{name}, request {exit_code}, stage {stage}", "pre": pre, "post": post}


def carry_segments(carry: Node) -> dict[int, bytes]:
    """Reads the request, and the places to which the program may have written."""
    memory = Memory(Pair(Memory().subtree(CARRY_HEIGHT, 0), carry))
    found = {REQUEST: memory.load_bytes(REQUEST, 32), REQUEST_BYTES: memory.load_bytes(REQUEST_BYTES, 32)}
    return found | {STATE: memory.load_bytes(STATE, 64), OUTPUT: memory.load_bytes(OUTPUT, 64)}


def model_runs(rng: Random) -> Iterator[Json]:
    """Yields runs of a LLaMA: greedy, at a temperature, and with a request that stage 0 refuses."""
    for arithmetic in ("fixed", "float"):
        segments = llama(rng, arithmetic == "float")
        n = Header.read(Memory.from_segments(segments)).ops
        greedy, sampled = text_request(rng), text_request(rng, TEMPERATURE_Q16)
        yield run_case(f"{arithmetic}, greedy", segments, greedy, n * POSITIONS)
        yield run_case(f"{arithmetic}, at a temperature", segments, sampled, n * POSITIONS)
        yield run_case(f"{arithmetic}, refused", segments, greedy + b"\0", 3)


def run_case(name: str, segments: dict[int, bytes], data: bytes, stages: int) -> Json:
    def answer() -> Json:
        memory = Memory.from_segments(segments)
        model, state = (memory.subtree(QUARTER_HEIGHT, quarter) for quarter in (1, 3))
        runs = [first_state(io_quarter(stages, data), state)]
        for stage in range(stages):
            runs.append(run_meaning(model, runs[-1], stage))
        end = stage_memory(model, runs[-1].carry)
        tokens = [end.load(OUTPUT + 32 + 4 * i, 4) for i in range(end.load(OUTPUT, 8))]
        post = {"model_id": hash_pair(hash_of(model), hash_of(state)).hex(), "run_hashes": [run.run_hash.hex() for run in runs]}
        return post | {"carry_root": hash_of(runs[-1].carry).hex(), "status": int(runs[-1].status), "tokens": tokens}

    return make_case(name, {"memory": memory_text(segments), "stages": stages, "request": data.hex()}, answer)
