"""One checkpoint file: it is read back exactly, and a change of any byte is found."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors

from dptrain.errors import CheckpointError
from dptrain.runs.checkpoint import load, pack
from dptrain.settings import TrainingConfig

shared_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("best", [True, False])
def test_a_state_comes_back_bit_for_bit(tmp_path, facts, make_state, best):
    state = make_state(best=best)
    path = tmp_path / "c.safetensors"
    path.write_bytes(pack(state, facts, term=3))
    found = load(path)
    back = found.state(state.params_layout, state.buffers_layout)
    for field in fields(state):
        ref, comp = getattr(state, field.name), getattr(back, field.name)
        if isinstance(ref, np.ndarray):
            assert ref.tobytes() == comp.tobytes(), field.name
        elif field.name == "optimizer":
            assert ref["velocity"].tobytes() == comp["velocity"].tobytes()
        else:
            assert ref == comp, field.name
    assert back.sha256() == state.sha256()
    assert (found.facts, found.term, found.step) == (facts, 3, 7)
    assert back.params.flags.writeable


def test_any_safetensors_reader_can_read_the_weights(facts, make_state):
    state = make_state()
    tensors = load_tensors(pack(state, facts, term=1))
    assert tensors["model.conv1.weight"].tobytes() == state.params[:108].tobytes()
    assert tensors["best.bn1.running_var"].tobytes() == state.best_buffers[4:].tobytes()
    assert "optim.velocity.bn1.weight" in tensors


@given(data=st.data())
@shared_path
def test_a_truncated_file_is_refused_by_name(tmp_path, facts, make_state, data):
    content = pack(make_state(), facts, term=1)
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
        load(path)


@given(data=st.data())
@settings(shared_path, max_examples=300)
def test_a_file_with_one_flipped_bit_is_refused_by_name(tmp_path, facts, make_state, data):
    content = bytearray(pack(make_state(), facts, term=1))
    header = int.from_bytes(content[:8], "little") + 8  # the header is as likely to be hit as the tensors
    at = data.draw(st.integers(0, header) | st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"flipped\.safetensors"):
        load(path)


@given(junk=st.binary(max_size=200))
@shared_path
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, junk):
    path = tmp_path / "junk.safetensors"
    path.write_bytes(junk)
    with pytest.raises(CheckpointError, match=r"junk\.safetensors"):
        load(path)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        load(tmp_path / "no.safetensors")


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path, facts, make_state):
    path = tmp_path / "c.safetensors"
    path.write_bytes(pack(make_state(), facts, term=1))
    found = load(path)
    found.refuse_other_run(facts)
    other = replace(facts.config, training=TrainingConfig(lr=0.05))
    with pytest.raises(CheckpointError, match=r"belongs to another run \(lr: 0.1 -> 0.05\)"):
        found.refuse_other_run(replace(facts, config=other))
    with pytest.raises(CheckpointError, match=r"data set: abababababab -> cdcdcdcdcdcd"):
        found.refuse_other_run(replace(facts, data=replace(facts.data, sha256="cd" * 32)))
    with pytest.raises(CheckpointError, match=r"numerics: fp32-v1 -> fp32-v2"):
        found.refuse_other_run(replace(facts, numerics="fp32-v2"))


def test_a_checkpoint_of_a_precision_that_is_gone_is_refused_with_what_is_allowed(tmp_path, facts, make_state):
    path = tmp_path / "c.safetensors"
    config = replace(facts.config, training=replace(facts.config.training, precision="bf16"))
    path.write_bytes(pack(make_state(), replace(facts, config=config, numerics="bf16-v1"), term=1))
    with pytest.raises(CheckpointError, match=r"c\.safetensors: .*precision = 'bf16': must be fp32") as refused:
        load(path)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 78


def test_deployment_may_differ(tmp_path, facts, make_state):
    path = tmp_path / "c.safetensors"
    path.write_bytes(pack(make_state(), facts, term=1))
    deployment = replace(facts.config.deployment, workers=9)
    load(path).refuse_other_run(replace(facts, config=replace(facts.config, deployment=deployment)))


def test_a_checkpoint_of_another_network_is_refused_by_tensor(tmp_path, facts, make_state):
    state = make_state()
    path = tmp_path / "c.safetensors"
    path.write_bytes(pack(state, facts, term=1))
    conv, scale = state.params_layout.specs
    found = load(path)
    with pytest.raises(
        CheckpointError, match=r"conv1.weight has shape \(4, 3, 3, 3\), the network wants \(8, 3, 3, 3\)"
    ):
        found.vector(replace(state.params_layout, specs=(replace(conv, shape=(8, 3, 3, 3)), scale)))
    with pytest.raises(CheckpointError, match=r"tensor model.bn9.weight is missing"):
        found.vector(replace(state.params_layout, specs=(conv, replace(scale, name="bn9.weight"))))
