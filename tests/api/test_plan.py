"""The plan of a run that is resumed: the stored identity stays, the deployment may change."""

import pytest

from dptrain.api.plan import plan
from dptrain.errors import UsageError
from dptrain.recipefile import to_toml
from dptrain.runs import directory
from dptrain.settings import build


@pytest.fixture
def stored(tmp_path):
    """A run directory with workers = 0, threads = 2, lr = 0.2."""
    config = build({"workers": 0, "threads": 2, "lr": 0.2, "max_steps": 3})
    made = directory.create(tmp_path / "runs", "a", to_toml(config), {"identity": "x", "starts": [{"term": 1}]})
    made.close()
    return made.path


def test_a_resumed_run_keeps_its_settings_but_not_those_for_one_start(stored):
    found = plan("", {}, {"resume": str(stored)})
    assert found.resumed == stored
    assert (found.config.training.lr, found.config.deployment.threads) == (0.2, 2)
    assert found.config.deployment.max_steps == 0


def test_a_flag_drops_the_stored_deployment_that_it_makes_meaningless(stored, caplog):
    deployment = plan("", {}, {"resume": str(stored), "workers": "2"}).config.deployment
    assert (deployment.workers, deployment.threads) == (2, 0)
    assert [r.getMessage() for r in caplog.records] == [f"threads of {stored} is dropped: not used with workers = 2"]


def test_a_flag_that_changes_the_identity_is_refused_although_a_key_of_the_recipe_is_dropped(stored, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[training]\nlr = 0.2\nschedule = "steps"\nmilestones = [3]\n')
    flags = {"resume": str(stored)}
    with pytest.raises(UsageError, match=r"schedule = 'steps' \(recipe .*\), but the run .* has schedule = 'cosine'"):
        plan(str(recipe), {}, flags)
    assert plan(str(recipe), {}, flags | {"schedule": "cosine"}).config.training.milestones == ()
