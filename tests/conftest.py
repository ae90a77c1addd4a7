"""What all rings share: their own cache and costs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says how busy the machine is: rings and tests have limits of their own.
ANY_MACHINE = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("any-machine", ANY_MACHINE)
# pytest --hypothesis-profile=thorough
settings.register_profile("thorough", ANY_MACHINE, max_examples=400)
settings.load_profile("any-machine")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # Whoever runs the tests may have a configuration of their own.
        for name in [
            name for name in os.environ if name.startswith("FACTORY_") and not name.startswith("FACTORY_TEST_")
        ]:
            patch.delenv(name)
        # The program is started hundreds of times: it is compiled once.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("FACTORY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("FACTORY_COSTS_URL", f"sqlite:///{tmp_path_factory.mktemp('costs')}/costs.sqlite")
        yield
