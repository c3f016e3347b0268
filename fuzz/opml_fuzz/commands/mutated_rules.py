"""Breaks the rules of the specification one by one, and asks whether a proof notices: what `opml-prove --rule-mutants` executes."""

from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.fuzzing.game_mutants import changed
from opml_fuzz.fuzzing.rule_mutants import RULE_MUTANTS, UNCHANGED
from opml_fuzz.proofs.induction import prove_rule
from opml_fuzz.statements.catalogue import RULES


def run(is_json: bool) -> int:
    """Proves, for each mutant, the case of a rule that should notice it. It counts as refuted only by a counterexample."""
    survivors, progress, details = list[str](), Progress(), list[dict[str, str]]()
    for number, (module, right, wrong, name, case) in enumerate(RULE_MUTANTS):
        progress.show(f"{number + 1} of {len(RULE_MUTANTS)}: {name}")
        with changed(module, right, wrong):
            verdict = prove_rule(RULES[name].only(case))
        progress.end()
        if verdict.result != "counterexample":
            survivors.append(f"{module}: {right} -> {wrong}")
        details.append({"module": module, "right": right, "wrong": wrong, "rule": name, "result": verdict.result, "detail": verdict.detail})
        if not is_json:
            print(f"{verdict.result:15}{name:26}{module}: {right!r} -> {wrong!r}", flush=True)
    refuted = len(RULE_MUTANTS) - len(survivors)
    if is_json:
        print_json({"mutants": details, "refuted": refuted, "survivors": survivors})
    else:
        print(f"\n{refuted} of {len(RULE_MUTANTS)} refuted. Nothing that a rule speaks of changes in:", *UNCHANGED, sep="\n- ")
    return 1 if survivors else 0
