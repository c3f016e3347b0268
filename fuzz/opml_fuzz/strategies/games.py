"""Games: sequences of acts at court; they shrink by leaving out single acts and to fewer of them.

An act depends on those before it: the players see the specification's court. When an act is left out, those that follow are drawn anew from
the choices that are left, so what remains is again a game.

*Source*: spec §5.
"""

from collections.abc import Sequence
from random import Random

from hypothesis import strategies as st
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError

from evm_arbiter.chain import START_TIME
from opml_fuzz.disputes.call import Call, write
from opml_fuzz.disputes.contract import PEOPLE
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.rules import RULES
from opml_fuzz.disputes.sequences import PACES, next_call, pass_time
from opml_fuzz.disputes.spoilers import spoiled
from opml_fuzz.machine.case import Acts

MOST_ACTS = 40
ON = 12  # one game in so many ends after an act


def act_of(rng: Random, players: Players) -> Call:
    """Makes one act at the players' court, which learns of it. One act in four is spoiled."""
    players.rng = rng
    pass_time(players)
    call, told = (players.register(), None) if not players.models else next_call(players)
    if rng.randrange(4) == 3:
        call = spoiled(rng, call, players.court, PEOPLE)
    before = players.court
    try:
        after = call.on(before)
    except SpecError:
        return call
    players.learn(call, before, after, told)
    return call


@st.composite
def games(draw: st.DrawFn, rules: Sequence[Parameters] = RULES, most_acts: int = MOST_ACTS) -> Acts:
    """Draws acts, and the parameters under which they happen, by their number in `rules`."""
    number = draw(st.integers(0, len(rules) - 1))
    players = Players(deploy(rules[number]), PEOPLE, Random(0), START_TIME, pace=PACES[0])
    choices, calls = st.randoms(use_true_random=False), list[Call]()
    while len(calls) < most_acts and draw(st.integers(0, ON)):
        calls.append(act_of(draw(choices), players))
    return Acts(number, tuple(map(write, calls)))
