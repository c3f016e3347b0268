"""The kinds of cases, as `--only` chooses them."""

from collections.abc import Callable, Iterable

from opml_fuzz.machine.case import Acts, Case, Deployment, Disputes, Program, Step, Witness
from opml_fuzz.machine.model_case import FloatOperation, ModelImage, OneStage, WholeRun, header_of
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.target_question import COURT, EXECUTE, ROOT, RUN, STAGE, STEP, TRAINING_STAGE, WITNESS
from opml_fuzz.machine.training_case import TrainingStages, TrainingTape

ABOUT_THE_MACHINE, AT_COURT = ("step", "witness", "program", "related"), ("court", "deployment")
ABOUT_MODELS, ABOUT_TRAINING = ("float", "op", "stage", "model"), ("training",)
KINDS = frozenset((*ABOUT_THE_MACHINE, *AT_COURT, *ABOUT_MODELS, *ABOUT_TRAINING))
ASKED_ABOUT = {
    **{"step": {EXECUTE, STEP, WITNESS, ROOT}, "witness": {EXECUTE}, "program": {RUN}, "related": {EXECUTE, RUN}},
    **{"court": {COURT}, "deployment": {COURT}, "op": {STAGE}, "stage": {STAGE}, "training": {TRAINING_STAGE}},
}
"""By kind of case, the questions of which a target must know one."""
Watch = Callable[[Case], None]
"""Called with each case before it is asked."""

_BY_CLASS: dict[type, str] = {
    **{Step: "step", Witness: "witness", Program: "program", Related: "related"},
    **{Disputes: "court", Acts: "court", Deployment: "deployment"},
    **{FloatOperation: "float", WholeRun: "model", ModelImage: "model", TrainingStages: "training", TrainingTape: "training"},
}


def kind_of(case: Case) -> str:
    """Names the kind of a case. A stage of a tape with one op is a question about that operation."""
    if isinstance(case, OneStage):
        return "op" if header_of(case.memory).ops == 1 else "stage"
    return _BY_CLASS[type(case)]


def askable(kinds: Iterable[str], knows: frozenset[str]) -> frozenset[str]:
    """Chooses the kinds of cases about which a target that knows these questions can be asked."""
    return frozenset(kind for kind in kinds if not knows.isdisjoint(ASKED_ABOUT.get(kind, ())))


def ignore(case: Case) -> None:
    """Watches nothing."""
