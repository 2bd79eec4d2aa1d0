"""Workers that leave, are silent or come back; leases. Events in, whole lists of actions out."""

import inspect
import re

from cluster.actions import assigned
from dptrain.cluster import events, messages
from dptrain.cluster.dispatch import Dispatch
from dptrain.cluster.events import Child, Gone, Notice, Send, Tell, Tick, WorkerLost, WorkerSilent
from dptrain.cluster.messages import Leave, Ping, Progress

T = 3  #: the term of conftest's Lead


def test_what_a_lost_worker_held_is_given_to_the_others_and_reported(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.join("b")
    assert lead.killed("a") == [
        Tell(WorkerLost("a", "exited with signal 9", (0, 1), 1)),
        Send(b"b", lead.order(0, 0, 1, 1, 2)),
        Send(b"b", lead.order(0, 1, 2, 1, 2)),
    ]
    assert lead.feed(Gone(b"a", "the connection is closed")) == []


def test_why_a_worker_started_here_has_ended_is_reported_once_whichever_channel_noticed_first(lead):
    lead = lead(shards=2)
    lead.join("a", "b")
    lead.hello("c")
    assert lead.feed(Gone(b"a", "the connection is closed"))[0] == Tell(
        WorkerLost("a", "the connection is closed", (0, 1), 1)
    )
    for name in ("a", "c", "never said Hello"):
        assert lead.killed(name) == [Tell(Notice("warning", f"worker {name} exited with signal 9"))]
    assert lead.feed(Gone(Child("a0"), "exited with code 1: no space left")) == [
        Tell(Notice("warning", "augmenter a0 exited with code 1: no space left"))
    ]
    assert [member.name for member in lead.machine._members.all()] == ["b"]


def test_a_worker_that_leaves_is_reported_with_its_reason(lead):
    lead = lead(shards=2)
    lead.join("a")
    leave = Leave(T, lead.incarnation("a"), "SIGTERM")
    assert lead.say("a", leave) == [Tell(WorkerLost("a", "left: SIGTERM", (0, 1), 0))]


def test_why_a_worker_left_before_it_was_admitted_is_reported(lead):
    lead = lead(shards=2)
    lead.hello("a")
    text = "worker a left before it was admitted: there is no data set mnist here"
    leave = Leave(T, lead.incarnation("a"), "there is no data set mnist here")
    assert lead.say("a", leave) == [Tell(Notice("warning", text))]


def test_the_end_of_an_augmenter_is_that_of_no_worker_whatever_it_signs_with(lead):
    lead = lead(shards=2)
    lead.feed(Tick())
    for foreign in ("", "g" * 32, "0" * 31, "0" * 33):
        told = [a.report.text for a in lead.hello("foreign", incarnation=foreign) if isinstance(a, Tell)]
        assert told == [f"worker foreign is refused: its incarnation is {foreign!r}: must be 32 hex digits"]
    lead.join("a")
    ended = Gone(Child("a0"), "exited with signal 9", shards_suspect=False)
    assert lead.feed(ended) == [Tell(Notice("warning", "augmenter a0 exited with signal 9"))]


def test_a_silent_worker_loses_its_shards_and_its_late_answer_still_counts(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.join("b")
    late = lead.node("a", 0, 1)
    lead.now += 4.9
    assert assigned(lead.feed(Tick())) == []
    lead.now += 0.1
    actions = lead.feed(Tick())
    silences = [Tell(WorkerSilent("a", 5.0, f"shard {i} of step 1")) for i in (0, 1)]
    assert [a for a in actions if isinstance(a, Tell)] == silences
    assert assigned(actions) == [("b", 0, 1), ("b", 1, 2)]
    assert lead.say("a", late) == []
    assert lead.done("b", 0, 1) == []
    assert lead.machine.counters.duplicate == 1
    assert lead.machine.state.step == 0
    lead.done("b", 1, 2)
    assert lead.machine.state.step == 1


def test_a_suspect_gets_nothing_until_it_is_heard_and_then_the_current_weights(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.join("b")
    late = lead.node("a", 0, 1)
    lead.now += 5
    lead.feed(Tick())
    lead.done("b", 0, 1)
    actions = lead.done("b", 1, 2)
    assert {a.peer for a in actions if isinstance(a, Send)} == {b"b"}
    assert lead.say("a", late) == [Send(b"a", lead.weights)]
    actions = lead.killed("b")
    assert assigned(actions) == [("a", 0, 1), ("a", 1, 2)]


def test_the_only_worker_is_asked_again_with_twice_the_patience(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.now += 5
    assert lead.feed(Tick())[-2:] == [Send(b"a", Ping(T)), Send(b"a", lead.order(0, 0, 1, 1, 2))]
    lead.now += 9
    assert assigned(lead.feed(Tick())) == []
    lead.now += 1
    assert lead.feed(Tick())[-1] == Send(b"a", lead.order(0, 0, 1, 2, 2))


def test_progress_renews_all_leases_of_a_worker(lead):
    lead = lead(shards=2)
    lead.join("a")
    me = lead.incarnation("a")
    for first, done in ((0, 0), (0, 1), (1, 0), (1, 1)):
        lead.now += 4
        assert lead.say("a", Progress(T, me, 0, first, done)) == []
        assert all(isinstance(a.message, Ping) for a in lead.feed(Tick()))


def test_a_worker_that_says_again_and_again_what_it_has_done_and_sends_nothing_loses_its_shards(lead):
    lead = lead(shards=2)
    lead.join("liar")
    me = lead.incarnation("liar")
    for shard in (0, 1):
        assert lead.say("liar", Progress(T, me, 0, shard, 1)) == []
    lead.join("honest")
    told = []
    for second in range(6):
        lead.now += 1
        for shard in (0, 1, 2**40 + second):
            told += lead.say("liar", Progress(T, me, 0, shard, 1))
        told += lead.feed(Tick())
    assert Tell(WorkerSilent("liar", 5.0, "shard 0 of step 1")) in told
    assert assigned(told)[-1][0] == "honest"


def test_a_worker_that_lets_three_leases_run_out_leaves_open_shards_to_others_for_a_minute(lead):
    lead = lead(shards=1)
    lead.join("liar", "honest")
    for step in range(2):
        assert lead.held("liar") == [(0, 1)]
        lead.now += 600
        assert assigned(lead.feed(Tick())) == [("honest", 0, 1)]
        lead.say("liar", Progress(T, lead.incarnation("liar"), step, 0))
        lead.done("honest", 0, 1)
    lead.now += 600
    assert assigned(lead.feed(Tick())) == [("honest", 0, 1)]
    lead.say("liar", Progress(T, lead.incarnation("liar"), 2, 0))
    lead.done("honest", 0, 1)
    assert (lead.held("liar"), lead.held("honest") != []) == ([], True)


def test_no_worker_is_measured_by_the_speed_that_a_barred_worker_has_claimed(lead):
    lead = lead(shards=1)
    lead.join("liar")
    me = lead.incarnation("liar")
    for _ in range(3):
        lead.now += 0.001
        lead.say("liar", Progress(T, me, 0, 0, 1))  # done in a millisecond, it says
        lead.now += 600
        lead.feed(Tick())
    lead.join("honest")
    lead.now += 600
    assert assigned(lead.feed(Tick())) == [("honest", 0, 1)]
    lead.now += 1
    lead.say("liar", Progress(T, me, 0, 0))  # no suspect any more
    lead.done("honest", 0, 1)
    assert lead.held("honest") == [(0, 1)]  # the liar may have a copy: the first result counts


def test_a_worker_that_is_left_alone_gets_shards_however_many_leases_it_has_let_run_out(lead):
    lead = lead(shards=1)
    lead.join("slow")
    for _ in range(6):
        lead.now += 600
        assert assigned(lead.feed(Tick())) == [("slow", 0, 1)]
    lead.done("slow", 0, 1)
    assert lead.machine.state.step == 1
    member = lead.machine._members.by_incarnation(lead.incarnation("slow"))
    assert (member.strikes, member.barred_until < lead.now) == (0, True)


def test_a_result_sent_twice_renews_nothing(lead):
    lead = lead(shards=2)
    lead.join("liar")
    lead.done("liar", 0, 1)
    said = lead.node("liar", 0, 1)
    lead.join("honest")
    told = []
    for _ in range(6):
        lead.now += 1
        told += [*lead.say("liar", said), *lead.feed(Tick())]
    assert ("honest", 1, 2) in assigned(told)


def test_a_part_of_a_node_that_another_worker_has_done_is_a_duplicate_and_the_rest_is_open_again(lead):
    lead = lead(shards=2)
    lead.join("a")
    both = lead.node("a", 0, 2)
    lead.join("b")
    lead.now += 5
    lead.feed(Tick())
    assert lead.done("b", 0, 1) == []
    assert lead.say("a", both) == []
    assert lead.machine.counters.duplicate == 1
    lead.done("b", 1, 2)
    assert lead.machine.state.step == 1


def test_looking_for_work_to_give_changes_nothing(lead):
    """Also looking at a worker that never got anything, and that would get a doubtful shard now."""
    lead, other = lead(shards=4), lead(shards=4)
    lead.join("a")
    other.join("x")
    lead.say("a", lead.non_finite("a", 0))
    current, ready = lead.machine._training.round, lead.machine._members.ready() + other.machine._members.ready()

    def everything():
        return repr([vars(current.book), vars(current.jury), vars(current.deaths), ready])

    before, look = everything(), Dispatch(current, ready, lead.now + 100.0)
    assert look.next().member.name == "x"
    look.wake_at()
    lead.machine.wake_at(lead.now + 100.0)
    assert everything() == before


def test_the_protocol_and_the_machines_have_five_words_for_ends_a_wish_and_a_report():
    """Leave, Stop, Reject (messages), Gone (event), Ended (action); StopRequested is the wish, WorkerLost a report."""
    ends = re.compile("Leave|Stop|Reject|Gone|End|Exit|Finish|Lost|Drop|Quit|Close|Abort|Die|Death|Forget|Bye|Over")
    kinds = {name for module in (messages, events) for name, kind in vars(module).items() if inspect.isclass(kind)}
    assert {name for name in kinds if ends.search(name)} == {
        *("Leave", "Stop", "Reject", "Gone", "Ended"),
        *("StopRequested", "WorkerLost"),
    }
