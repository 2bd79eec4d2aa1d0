"""Which addresses may be bound and connected to."""

import pytest

from dptrain.errors import UsageError
from dptrain.net.address import bind_address, connect_address, warning_about


def test_ipc_gets_a_name_of_its_own_every_time():
    first, second = (bind_address("ipc", insecure=False) for _ in range(2))
    assert first.startswith("ipc://@dptrain-")
    assert first != second
    assert connect_address(first, insecure=False) == first


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:0", "tcp://127.8.8.8:65535", "tcp://[::1]:5555", "ipc://@a-name.1"])
def test_an_address_that_only_this_machine_can_reach_needs_no_keys(text):
    assert bind_address(text, insecure=False) == text


def test_localhost_becomes_a_number_because_libzmq_binds_to_no_names():
    assert bind_address("tcp://localhost:5555", insecure=False) == "tcp://127.0.0.1:5555"


@pytest.mark.parametrize(
    "text", ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://10.0.0.7:0", "tcp://[::]:1", "tcp://eth0:1"]
)
def test_what_other_machines_can_reach_is_refused_unless_the_network_is_trusted(text):
    with pytest.raises(UsageError, match="DPTRAIN_INSECURE=1") as caught:
        bind_address(text, insecure=False)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert bind_address(text, insecure=True) == bind_address(text, insecure=False, keys=True) == text


@pytest.mark.parametrize("text", ["", "tcp://", "tcp://a", "tcp://a:70000", "udp://a:1", "ipc:///tmp/x", "a:5555"])
def test_an_invalid_address_is_refused_with_an_example_of_a_valid_one(text):
    with pytest.raises(UsageError, match="tcp://ADDRESS:PORT"):
        bind_address(text, insecure=True)
    with pytest.raises(UsageError, match="tcp://HOST:PORT"):
        connect_address(text, insecure=True)


@pytest.mark.parametrize("text", ["tcp://host:0", "tcp://*:5555"])
def test_an_address_to_connect_to_needs_a_host_and_a_port(text):
    with pytest.raises(UsageError, match="a host and a port"):
        connect_address(text, insecure=True)


@pytest.mark.parametrize("text", ["tcp://10.0.0.7:5555", "tcp://coordinator:5555", "tcp://[2001:db8::1]:1"])
def test_what_leads_to_another_machine_needs_keys_or_the_word_insecure_which_is_loud(text):
    with pytest.raises(UsageError, match="dptrain keys new") as caught:
        connect_address(text, insecure=False)
    assert "\n" not in str(caught.value)
    assert connect_address(text, insecure=True) == connect_address(text, insecure=False, keys=True) == text
    assert "neither encrypted nor authenticated" in warning_about(text, keys=False)
    assert warning_about(text, keys=True) == ""


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:5555", "tcp://localhost:1", "tcp://[::1]:1", "ipc://@a"])
def test_what_stays_on_this_machine_needs_neither(text):
    assert connect_address(text, insecure=False) == text
    assert warning_about(text, keys=False) == ""
