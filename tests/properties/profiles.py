"""How much is tried: the same few examples every day, or many new ones with HYPOTHESIS_PROFILE=long.

Everyday runs are derandomized, so that a failure is the change's and not the day's, and show it as it was found. A long
run is random, makes what fails as short as it can, and keeps it in `.hypothesis/` to be tried first the next time; the
line that an everyday failure prints (`@reproduce_failure`) begins one with it.
"""

import os

from hypothesis import HealthCheck, Phase, settings

# Examples of a long run for each one of an everyday run: minutes instead of seconds for each test.
LONGER = 50

_COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
settings.register_profile("everyday", _COMMON, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
settings.register_profile("long", _COMMON)

_name = os.environ.get("HYPOTHESIS_PROFILE", "everyday")
_profile = settings.get_profile(_name)


def tried(examples: int, *, steps: int = 50) -> settings:
    """So many examples every day; `steps` bounds those of a state machine in each."""
    times = LONGER if _name == "long" else 1
    return settings(_profile, max_examples=examples * times, stateful_step_count=steps)
