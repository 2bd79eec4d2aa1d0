"""The in-process link behaves like the sockets."""

import os
import threading

import pytest

from dptrain.cluster.events import THE_COORDINATOR, Arrived, Gone, Received
from dptrain.cluster.messages import PROTOCOL, Hello, Ping, Stop
from dptrain.cluster.worker import Worker
from dptrain.processes.inprocess import InProcessHub, InProcessLink
from dptrain.processes.stopping import StopFlag
from dptrain.processes.worker_loop import run_worker


@pytest.fixture
def hub():
    hub = InProcessHub()
    yield hub
    hub.close()


@pytest.fixture
def worker(hub):
    link = InProcessLink(hub)
    link.open()
    yield link
    link.close()


def test_messages_go_both_ways_without_a_copy(hub, worker, links):
    weights = links.params()
    worker.send(links.hello())
    [event] = hub.poll(0)
    assert event == Received(event.peer, links.hello())
    assert hub.send(event.peer, weights) is None
    assert worker.poll(0)[0].message is weights


def test_a_poll_wakes_when_another_thread_sends(hub, worker, links):
    thread = threading.Thread(target=lambda: worker.send(links.hello()))
    thread.start()
    [event] = hub.poll(30.0)
    assert event.message == links.hello()
    thread.join()


def test_a_worker_that_has_shut_is_gone_and_comes_again_as_a_new_peer(hub, worker, links):
    worker.send(links.hello())
    worker.shut()
    said, gone = hub.poll(0)
    assert gone == Gone(said.peer, "the worker has closed the connection")
    assert hub.send(said.peer, Ping(1)) == Gone(said.peer, "the connection is closed")
    worker.open()
    worker.send(links.hello())
    assert hub.poll(0)[0].peer != said.peer


def test_messages_of_a_dropped_peer_are_ignored(hub, worker, links):
    worker.send(links.hello())
    hub.ignore(hub.poll(0)[0].peer)
    worker.send(links.hello())
    assert hub.poll(0) == []


def test_a_hub_that_closes_delivers_its_last_messages_then_gone_also_to_workers_that_come_later(hub, worker, links):
    worker.send(links.hello())
    hub.send(hub.poll(0)[0].peer, Stop(1, "done"))
    hub.close()
    assert worker.poll(0) == [
        Arrived(Stop(1, "done")),
        Gone(THE_COORDINATOR, "the coordinator has closed the connection"),
    ]
    worker.shut()
    worker.open()
    assert worker.poll(0) == [Gone(THE_COORDINATOR, "the coordinator is gone")]


class LastWords(InProcessLink):
    """What a worker finds when the run ends while it looks elsewhere: the goodbye, and that the connection is gone."""

    def open(self):
        super().open()
        self.put(Arrived(Stop(1, "the run is complete")))
        self.put(Gone(THE_COORDINATOR, "the coordinator has closed the connection"))


class Idle:
    def run(self, task):
        raise AssertionError(task)

    def prefetch(self, task):
        raise AssertionError(task)

    def close(self):
        pass


def test_a_worker_that_got_stop_does_not_report_the_closed_connection(hub, caplog):
    flag = StopFlag()
    ended, _ = run_worker(Worker(Hello(PROTOCOL, "0" * 32, "w0", 7, "toy", "toy")), LastWords(hub), Idle(), flag, 10.0)
    flag.close()
    assert (ended.code, ended.reason) == (0, "the run is complete")
    assert caplog.records == []


def test_a_worker_whose_run_is_over_before_it_was_admitted_does_not_complain_either(hub, caplog):
    hub.close()
    flag = StopFlag()
    threading.Timer(0.3, flag.set, ["the run is over"]).start()
    ended, _ = run_worker(
        Worker(Hello(PROTOCOL, "0" * 32, "w0", 7, "toy", "toy")), InProcessLink(hub), Idle(), flag, 10.0
    )
    flag.close()
    assert (ended.code, ended.reason) == (0, "the run is over")
    assert caplog.records == []


def test_a_worker_without_an_answer_logs_once_which_command_explains_why(hub, caplog, monkeypatch):
    monkeypatch.setattr("dptrain.processes.worker_loop.HINT", 0.1)
    flag, worker = StopFlag(), Worker(Hello(PROTOCOL, "0" * 32, "w0", 7, "toy", "toy"), give_up=1.0)
    ended, _ = run_worker(worker, InProcessLink(hub), Idle(), flag, 10.0)
    flag.close()
    assert ended.code == 75
    [said] = [record.getMessage() for record in caplog.records]
    assert said == "no answer yet; still trying (dptrain doctor --connect this process says why)"


def test_no_descriptor_is_left_after_close(links):
    before = links.descriptors()
    hub = InProcessHub()
    workers = [InProcessLink(hub) for _ in range(3)]
    for worker in workers:
        worker.open()
        worker.close()
    hub.close()
    assert links.descriptors() == before


def test_a_watched_descriptor_wakes_the_hub(hub):
    reader, writer = os.pipe()
    os.close(writer)
    assert hub.poll(30.0, [reader]) == []
    os.close(reader)
