"""Operations, stages and runs of tiny models; they shrink to fixed point, to the first operation, and to sizes of 1.

Weights and buffers come from a random generator, of which only the seed shrinks. `simpler()` of a case puts zeros for them.

*Source*: spec §3.
"""

from random import Random

from hypothesis import strategies as st
from opml_spec.model.llama import Shape
from opml_spec.model.operations.table import FIXED_OPERATIONS

from opml_fuzz.machine.model_case import OneStage, WholeRun
from opml_fuzz.models.random_models import one_model, one_operation, sometimes_refused, stage_of

GENERATORS = st.integers(0, (1 << 32) - 1).map(Random)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Draws the sizes of a tiny LLaMA."""
    kv_heads, size = draw(st.integers(1, 3)), st.integers(1, 40)
    return Shape(
        dim=draw(size),
        hidden_dim=draw(size),
        layers=draw(st.integers(0, 2)),
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        head_size=8 * draw(st.integers(1, 3)),
        context=draw(st.integers(4, 8)),
        vocabulary=draw(st.integers(1, 24)),
        r=draw(st.integers(4, 14)),
        eps_q48=draw(st.sampled_from((0, 1 << 20, 1 << 32))),
    )


def operations() -> st.SearchStrategy[OneStage]:
    """Draws one operation of either arithmetic, as a stage of a tape of its own."""
    return st.builds(one_operation, GENERATORS, shapes(), st.booleans(), st.sampled_from(FIXED_OPERATIONS))


def whole_models() -> st.SearchStrategy[WholeRun]:
    return st.builds(one_model, GENERATORS, shapes(), st.booleans())


def stages() -> st.SearchStrategy[OneStage]:
    """Draws a stage of a tiny model, as its run comes to it."""
    return st.builds(stage_of, GENERATORS, whole_models())


def models() -> st.SearchStrategy[WholeRun]:
    """Draws a run of a tiny model of random shape; one request in six is refused."""
    return st.builds(sometimes_refused, GENERATORS, whole_models())
