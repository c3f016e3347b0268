"""How long a run and a stage may be. Both bound the rounds of a dispute, and so its clocks.

*Source*: spec §3.2 and §4.2.
"""

MOST_STAGES = 1 << 24
"""Stages of the longest run. (= 16777216)"""

STAGE_STEP_LIMIT = 1 << 32
"""Steps of the machine in a stage. (= 4294967296)"""
