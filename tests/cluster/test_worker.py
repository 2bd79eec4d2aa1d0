"""The worker: events in, whole lists of actions out."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.conftest import Hand
from dptrain.cluster.events import (
    THE_COORDINATOR,
    Arrived,
    CancelTasks,
    Compute,
    Computed,
    Connected,
    Ended,
    EvaluationTask,
    Failure,
    Gone,
    GradientTask,
    Prepared,
    PrepareTask,
    Reconnect,
    Reply,
    StopRequested,
    Tick,
)
from dptrain.cluster.messages import (
    PROTOCOL,
    Admitted,
    Assign,
    Canary,
    Evaluate,
    EvaluationDone,
    Hello,
    Leave,
    NodeDone,
    NonFinite,
    Ping,
    Progress,
    Reject,
    Stop,
    Welcome,
    WhoAreYou,
)
from dptrain.cluster.table import InvalidTransition
from dptrain.cluster.worker import State
from simulation.toy import CANARY, DATASET, PARAMS, Toy

T = 3  #: the term of conftest's Hand
ME = "0123456789abcdef" * 2
HELLO = Reply(Hello(PROTOCOL, ME, "w0", 7, "toy-v1", "toy"))
CANARY_REPLY = Reply(Canary(T, ME, CANARY, DATASET))


def order(params, first, last, attempt, shards, alone=0):
    return Assign(T, params.step, first, last, attempt, params.digest, shards, alone)


def progress(step, first, done=0):
    return Reply(Progress(T, ME, step, first, done))


def tasks(actions):
    return [a.task for a in actions if isinstance(a, Compute)]


def nodes(actions):
    return [
        (a.message.first, a.message.last) for a in actions if isinstance(a, Reply) and isinstance(a.message, NodeDone)
    ]


# --- becoming ready


def test_a_worker_says_hello_prepares_and_proves_itself(newcomer):
    assert newcomer.feed(Connected()) == [HELLO]
    task = PrepareTask(newcomer.welcome)
    assert newcomer.told(newcomer.welcome) == [Compute(task)]
    assert newcomer.told(newcomer.welcome) == []
    [prepare] = [newcomer.machine._preparing]
    assert newcomer.computed(PrepareTask(prepare)) == [CANARY_REPLY]
    assert newcomer.told(Admitted(T)) == []


def test_another_network_than_the_coordinators_ends_with_78_and_both_digests(newcomer):
    newcomer.feed(Connected())
    [prepare] = newcomer.told(newcomer.welcome)
    leave, leaving = newcomer.computed(prepare.task, Prepared("f" * 128, DATASET, CANARY, newcomer.toy.course))
    assert leaving.code == 78
    assert leave == Reply(Leave(T, ME, leaving.reason))
    assert "f" * 12 in leaving.reason
    assert newcomer.welcome.layout[:12] in leaving.reason
    assert newcomer.machine.exited


def test_a_refusal_ends_with_78_and_the_reason(newcomer):
    newcomer.feed(Connected())
    assert newcomer.told(Reject("no")) == [Ended(78, "the coordinator refuses this worker: no")]
    assert newcomer.feed(Tick()) == []


def test_a_failed_preparation_is_reported_in_one_line_and_ends_the_process_for_good(newcomer):
    newcomer.feed(Connected())
    [prepare] = newcomer.told(newcomer.welcome)
    failure = Failure("no such file:\n\t/data\x1b[31m/x")
    line = "no such file: /data?[31m/x"
    assert newcomer.computed(prepare.task, failure) == [Reply(Leave(T, ME, line)), Ended(78, line)]


def test_a_stop_of_the_run_is_answered_and_ends_with_0(hand, newcomer):
    over = "the run is complete"
    assert hand.told(Stop(T, over)) == [Reply(Leave(T, ME, over)), Ended(0, over)]
    newcomer.feed(Connected())
    assert newcomer.told(Stop(T, over)) == [Ended(0, over)]


@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_makes_the_worker_leave_in_good_order(hand, newcomer, signal, code):
    assert hand.feed(StopRequested(signal)) == [Reply(Leave(T, ME, signal)), Ended(code, signal)]
    assert newcomer.feed(StopRequested(signal)) == [Ended(code, signal)]


# --- wrong times


def at(state):
    """A worker in this state, brought there by sound events."""
    hand = Hand(Toy())
    if state is State.CONNECTING:
        return hand
    hand.feed(Connected())
    if state is State.GREETING:
        return hand
    [prepare] = hand.told(hand.welcome)
    if state is State.PREPARING:
        return hand
    hand.computed(prepare.task)
    if state is State.PROVING:
        return hand
    hand.told(Admitted(T))
    if state is State.READY:
        return hand
    hand.told(hand.params(5))
    if state is State.ENDED:
        hand.told(Stop(T, "over"))
    return hand


@pytest.mark.parametrize("state", State)
def test_no_message_at_a_wrong_time_is_taken_for_a_bug_of_this_worker(state):
    p, other = at(state).params(5), at(state).params(6, seed=1)
    messages = [
        Welcome(T, "toy", "{}", DATASET, "l" * 64),
        Welcome(T - 1, "another run", "{}", DATASET, "l" * 64),
        Admitted(T),
        p,
        other,
        order(p, 0, 2, 0, 3),
        order(other, 1, 3, 0, 4),
        Evaluate(T, 5, "test", 0, 0, 8, 0, p.digest),
        Evaluate(T, 5, "test", 0, 8, 8, 0, p.digest),
        Ping(T),
        WhoAreYou(T),
        Reject("no"),
        Stop(T, "over"),
    ]
    messages += [replace(m, term=term) for m in messages if hasattr(m, "term") for term in (0, T - 1, T + 1)]
    for message in messages:
        hand = at(state)
        assert hand.machine.state is state
        hand.told(message)  # `feed` checks the machine's invariants


@pytest.mark.parametrize("state", [s for s in State if s not in (State.CONNECTING, State.ENDED)])
def test_a_second_connection_beside_the_first_is_a_bug_and_reported_with_the_last_events(state):
    hand = at(state)
    with pytest.raises(InvalidTransition, match=f"^worker: connected is impossible in the state {state.name};") as bug:
        hand.feed(Connected())
    assert bug.value.history[0] == "CONNECTING: connected -> GREETING"
    assert hand.machine.state is state


# --- computing


def test_each_shard_is_one_task_and_their_sum_is_sent_as_one_node(hand):
    p = hand.params(4)
    assert hand.told(p) == []
    left, right = GradientTask(4, 0, p.params), GradientTask(4, 1, p.params)
    actions = hand.told(order(p, 0, 2, 1, 4))
    assert actions[0] == progress(4, 0)
    assert [(t.step, t.shard, t.params is p.params) for t in tasks(actions)] == [(4, 0, True), (4, 1, True)]
    assert hand.computed(left, seconds=0.25) == [progress(4, 0, done=1)]
    [reply] = hand.computed(right, seconds=0.5)
    done, whole = reply.message, hand.toy.compute(left).combine(hand.toy.compute(right))
    assert (done.term, done.incarnation, done.step, done.first, done.last, done.attempt) == (T, ME, 4, 0, 2, 1)
    assert done.digest == p.digest
    assert done.seconds == 0.75
    assert done.result.digest() == whole.digest()


def test_sums_merge_over_several_assignments_in_whatever_order_they_are_computed(hand):
    p = hand.params(0)
    hand.told(p)
    hand.told(order(p, 2, 3, 0, 4))
    hand.told(order(p, 3, 4, 2, 4))
    assert hand.computed(GradientTask(0, 3, p.params)) == [progress(0, 3, done=1)]
    [reply] = hand.computed(GradientTask(0, 2, p.params))
    left, right = (hand.toy.compute(GradientTask(0, shard, p.params)) for shard in (2, 3))
    assert (reply.message.first, reply.message.last, reply.message.attempt) == (2, 4, 2)
    assert reply.message.result.digest() == left.combine(right).digest()


def test_a_node_whose_sibling_is_not_held_as_a_whole_is_sent_at_once(hand):
    p = hand.params(0)
    hand.told(p)
    for first, last in ((0, 2), (2, 3)):
        hand.told(order(p, first, last, 0, 4))
    assert nodes(hand.computed(GradientTask(0, 2, p.params))) == [(2, 3)]
    hand.computed(GradientTask(0, 0, p.params))
    assert nodes(hand.computed(GradientTask(0, 1, p.params))) == [(0, 2)]


def test_the_last_shard_of_an_odd_step_is_the_sibling_of_all_before(hand):
    p = hand.params(2)
    hand.told(p)
    for first, last in ((0, 2), (2, 3)):
        hand.told(order(p, first, last, 0, 3))
    assert [nodes(hand.computed(GradientTask(2, shard, p.params))) for shard in (2, 0, 1)] == [[], [], [(0, 3)]]


def test_a_shard_assigned_again_while_it_is_held_is_not_computed_twice(hand):
    p = hand.params(0)
    hand.told(p)
    hand.told(order(p, 0, 1, 0, 4))
    assert hand.told(order(p, 0, 1, 1, 4)) == [progress(0, 0)]
    [reply] = hand.computed(GradientTask(0, 0, p.params))
    assert reply.message.attempt == 1
    assert len(tasks(hand.told(order(p, 0, 1, 2, 4)))) == 1


def test_after_new_weights_old_tasks_are_cancelled_and_old_results_ignored(hand):
    old, new = hand.params(0), hand.params(1, seed=1)
    hand.told(old)
    hand.told(order(old, 0, 2, 0, 4))
    assert hand.told(new) == [CancelTasks()]
    assert hand.computed(GradientTask(0, 0, old.params)) == []
    assert hand.told(order(old, 0, 1, 0, 4)) == []
    assert hand.told(old) == []
    [task] = tasks(hand.told(order(new, 0, 1, 0, 4)))
    assert task.params is new.params
    assert hand.told(new) == []
    assert hand.computed(GradientTask(0, 0, old.params)) == []


def test_damaged_weights_are_not_used(hand):
    p = hand.params(0)
    p.params[0] += 1
    [action] = hand.told(p)
    assert isinstance(action, Reconnect)


@pytest.mark.parametrize(
    "change",
    [
        {"first": 1, "last": 3},
        {"step": 1},
        {"shards": 0},
        {"shards": 8},
        {"shards": 2**62, "last": 2**62},
        {"digest": "0" * 16},
        {"alone": 1, "first": 0, "last": 2},
    ],
)
def test_an_impossible_order_costs_the_connection(hand, change):
    p = hand.params(0)
    hand.told(p)
    assert [type(a) for a in hand.told(replace(order(p, 0, 1, 0, 4), **change))][-1] is Reconnect


@pytest.mark.parametrize(
    "change",
    [
        {"split": "train"},
        {"index": 1},
        {"index": 3, "start": 24, "stop": 32},
        {"start": 1},
        {"stop": 7},
        {"stop": 17},
        {"stop": 2**62},
    ],
)
def test_a_part_that_the_split_does_not_have_costs_the_connection(hand, change):
    p = hand.params(4)
    hand.told(p)
    assert [type(a) for a in hand.told(replace(Evaluate(T, 4, "test", 0, 0, 8, 0, p.digest), **change))] == [Reconnect]


def test_work_after_the_last_step_of_the_run_costs_the_connection(hand):
    p = hand.params(hand.toy.total_steps)
    hand.told(p)
    assert [type(a) for a in hand.told(order(p, 0, 1, 0, 4))] == [Reconnect]


def test_however_often_a_shard_is_assigned_alone_and_in_a_node_one_computation_answers_both(hand):
    p = hand.params(0)
    hand.told(p)
    asked = []
    for attempt in range(50):
        asked += tasks(hand.told(order(p, 0, 1, attempt, 4))) + tasks(hand.told(order(p, 0, 1, attempt, 4, alone=1)))
    [task] = asked
    assert tasks(hand.told(order(p, 0, 2, 50, 4)))[0].shard == 1
    [alone] = hand.computed(task)
    assert (alone.message.first, alone.message.last, alone.message.attempt) == (0, 1, 49)
    [both] = hand.computed(GradientTask(0, 1, p.params))
    assert (both.message.first, both.message.last, both.message.attempt) == (0, 2, 50)


def test_scores_are_computed_with_the_weights_and_statistics_that_came_last(hand):
    p = hand.params(4)
    hand.told(p)
    wanted = Evaluate(T, 4, "test", 1, 8, 16, 0, p.digest)
    said, compute = hand.told(wanted)
    task = compute.task
    assert said == progress(4, 1)
    assert (task.split, task.index, task.start, task.stop) == ("test", 1, 8, 16)
    assert task.params is p.params
    assert task.buffers is p.buffers
    assert hand.told(replace(wanted, attempt=1)) == [progress(4, 1)]
    s = hand.toy.compute(task)
    assert s.samples == 8
    assert hand.computed(task) == [Reply(EvaluationDone(T, ME, 4, "test", 1, 1, p.digest, s))]
    assert hand.computed(task) == []


def test_other_weights_of_the_same_step_replace_the_first(hand):
    """The test split is scored with the best weights, under the number of the last step."""
    first, best = hand.params(4), hand.params(4, seed=1)
    hand.told(first)
    hand.told(Evaluate(T, 4, "validation", 0, 0, 8, 0, first.digest))
    assert hand.told(best) == [CancelTasks()]
    [task] = tasks(hand.told(Evaluate(T, 4, "test", 0, 0, 8, 0, best.digest)))
    assert task.params is best.params
    stale = EvaluationTask(4, "validation", 0, 0, 8, first.params, first.buffers)
    assert hand.computed(stale) == []


# --- NaN and infinity


@pytest.mark.parametrize(
    ("field", "place", "tensor"),
    [
        ("gradient", 0, "conv.weight"),
        ("gradient", 7, "bn.weight"),
        ("statistics", 3, "bn.running_var"),
        ("loss", 0, "loss"),
    ],
)
def test_a_shard_that_is_not_finite_is_named_and_not_sent(hand, field, place, tensor):
    p = hand.params(0)
    hand.told(p)
    hand.told(order(p, 0, 2, 0, 4))
    hand.computed(GradientTask(0, 0, p.params))
    bad = hand.toy.compute(GradientTask(0, 1, p.params))
    if field == "loss":
        bad = replace(bad, loss=float("nan"))
    else:
        getattr(bad, field)[place] = np.inf
    said, rest = hand.computed(GradientTask(0, 1, p.params), bad)
    assert said == Reply(NonFinite(T, ME, 0, 1, 0, p.digest, tensor, bad.digest()))
    assert nodes([rest]) == [(0, 1)]


def test_finite_shards_with_an_infinite_sum_are_sent_as_they_are_and_no_shard_is_blamed(hand):
    p = hand.params(0)
    hand.told(p)
    hand.told(order(p, 0, 2, 0, 4))
    huge = replace(hand.toy.compute(GradientTask(0, 0, p.params)), gradient=np.full(PARAMS.size, 3e38, np.float32))
    hand.computed(GradientTask(0, 0, p.params), huge)
    [said] = hand.computed(GradientTask(0, 1, p.params), huge)
    assert (said.message.first, said.message.last, bool(np.isinf(said.message.result.gradient).all())) == (0, 2, True)


def test_a_shard_asked_for_alone_is_computed_again_and_never_part_of_a_sum(hand):
    p = hand.params(0)
    hand.told(p)
    hand.told(order(p, 0, 2, 0, 4))
    hand.computed(GradientTask(0, 0, p.params))
    assert len(tasks(hand.told(order(p, 0, 1, 3, 4, alone=1)))) == 1
    assert tasks(hand.told(order(p, 0, 1, 4, 4, alone=1))) == []
    [said] = hand.computed(GradientTask(0, 0, p.params))
    assert (said.message.first, said.message.last, said.message.attempt) == (0, 1, 4)
    assert nodes(hand.computed(GradientTask(0, 1, p.params))) == [(0, 2)]


def test_without_layouts_the_place_in_the_vector_is_named(newcomer):
    newcomer.feed(Connected())
    [prepare] = newcomer.told(newcomer.welcome)
    newcomer.computed(prepare.task, Prepared(newcomer.welcome.layout, DATASET, CANARY, newcomer.toy.course))
    newcomer.told(Admitted(T))
    p = newcomer.params(0)
    newcomer.told(p)
    newcomer.told(order(p, 0, 1, 0, 4))
    bad = newcomer.toy.compute(GradientTask(0, 0, p.params))
    bad.gradient[5] = np.nan
    [reply] = newcomer.computed(GradientTask(0, 0, p.params), bad)
    assert reply.message.tensor == "element 5"


# --- losing the coordinator


def test_who_are_you_leads_to_a_new_connection_and_no_second_preparation(hand):
    p = hand.params(0)
    hand.told(p)
    hand.told(order(p, 0, 1, 0, 4))
    forget, reconnect = hand.told(WhoAreYou(T + 1))
    assert forget == CancelTasks()
    assert 0.05 <= reconnect.delay <= 0.1
    assert hand.told(WhoAreYou(T + 1)) == hand.told(Ping(T)) == []
    assert hand.feed(Connected()) == [HELLO]
    welcome = replace(hand.welcome, term=T + 1)
    assert hand.told(welcome) == [Reply(Canary(T + 1, ME, CANARY, DATASET))]
    assert hand.computed(GradientTask(0, 0, p.params)) == []


def test_another_run_is_prepared_from_the_start(hand):
    hand.feed(Gone(THE_COORDINATOR, "reset"))
    hand.feed(Connected())
    other = replace(hand.welcome, identity="other")
    [compute] = hand.told(other)
    assert compute.task == PrepareTask(other)


def test_a_preparation_under_way_serves_the_next_connection(newcomer):
    newcomer.feed(Connected())
    [prepare] = newcomer.told(newcomer.welcome)
    newcomer.feed(Gone(THE_COORDINATOR, "reset"))
    newcomer.feed(Connected())
    assert newcomer.told(replace(newcomer.welcome, term=T + 1)) == []
    assert newcomer.computed(prepare.task) == [Reply(Canary(T + 1, ME, CANARY, DATASET))]


def test_a_preparation_of_another_run_that_waits_is_taken_back_and_its_failure_does_not_end_the_worker(newcomer):
    newcomer.feed(Connected())
    [first] = newcomer.told(newcomer.welcome)
    newcomer.feed(Gone(THE_COORDINATOR, "reset"))
    newcomer.feed(Connected())
    other = replace(newcomer.welcome, identity="other")
    assert newcomer.told(other) == [CancelTasks(), Compute(PrepareTask(other))]
    assert newcomer.computed(first.task, Failure("this host has no data of the first run")) == []
    assert newcomer.machine.state is State.PREPARING


def test_a_preparation_that_ends_between_two_connections_is_kept(newcomer):
    newcomer.feed(Connected())
    [prepare] = newcomer.told(newcomer.welcome)
    newcomer.feed(Gone(THE_COORDINATOR, "reset"))
    assert newcomer.computed(prepare.task) == []
    newcomer.feed(Connected())
    assert newcomer.told(newcomer.welcome) == [CANARY_REPLY]


def test_messages_of_a_lower_term_are_ignored(hand):
    assert hand.told(Stop(T - 1, "old")) == []
    for _ in range(14):
        hand.now += 1
        assert hand.told(Ping(T - 1)) == []
    hand.now += 1
    [action] = hand.feed(Tick())
    assert isinstance(action, Reconnect)


def test_orders_of_a_later_term_are_ignored_until_its_welcome(hand):
    p = hand.params(0)
    hand.told(p)
    assert hand.told(replace(order(p, 0, 1, 0, 4), term=T + 1)) == []
    assert hand.told(replace(hand.params(1, seed=1), term=T + 1)) == []
    [task] = tasks(hand.told(order(p, 0, 1, 0, 4)))
    assert task.params is p.params


def test_a_worker_reconnects_after_15_silent_seconds_and_ends_after_60(newcomer):
    assert newcomer.feed(Connected()) == [HELLO]
    history = []
    for second in range(1, 61):
        newcomer.now += 1
        for action in newcomer.feed(Tick()):
            history.append((second, type(action)))
            if isinstance(action, Reconnect):
                newcomer.feed(Connected())
    assert history == [(15, Reconnect), (30, Reconnect), (45, Reconnect), (60, Ended)]
    assert newcomer.machine.exited


def test_giving_up_is_temporary_and_says_what_to_look_at(newcomer):
    newcomer.feed(Tick())
    for _ in range(59):
        newcomer.now += 1
        assert newcomer.feed(Tick()) == []
    newcomer.now += 1
    [action] = newcomer.feed(Tick())
    assert action.code == 75
    assert "--connect" in action.reason


def test_a_worker_that_was_stopped_for_an_hour_goes_on_where_it_was_and_counts_silence_from_there(hand):
    p = hand.params(0)
    hand.told(p)
    hand.told(order(p, 0, 1, 0, 4))
    task = GradientTask(0, 0, p.params)
    hand.now += 3600  # Ctrl-Z, fg
    assert hand.feed(Tick()) == []
    assert hand.feed(Computed(task, hand.toy.compute(task), 0.5)) != []
    for _ in range(14):
        hand.now += 1
        assert hand.feed(Tick()) == []
    hand.now += 1
    assert isinstance(hand.feed(Tick())[-1], Reconnect)


def test_pings_keep_the_connection(hand):
    for _ in range(100):
        hand.now += 1
        assert hand.told(Ping(T)) == hand.feed(Tick()) == []


def test_a_link_that_is_down_cannot_be_lost_again(hand):
    assert [type(a) for a in hand.feed(Gone(THE_COORDINATOR, "reset"))] == [Reconnect]
    assert hand.feed(Gone(THE_COORDINATOR, "reset")) == []
    assert hand.feed(Arrived(Ping(T))) == []


def test_back_off_doubles_to_five_seconds_and_starts_again_after_a_welcome(newcomer):
    def failure():
        newcomer.feed(Connected())
        [action] = newcomer.feed(Gone(THE_COORDINATOR, "reset"))
        return action.delay

    delays = [failure() for _ in range(9)]
    tops = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert all(top / 2 <= delay <= top for delay, top in zip(delays, tops, strict=True))
    assert len({delay / top for delay, top in zip(delays, tops, strict=True)}) > 3  # there is jitter
    newcomer.feed(Connected())
    newcomer.told(newcomer.welcome)
    assert newcomer.feed(Gone(THE_COORDINATOR, "reset"))[-1].delay == delays[0]


def test_results_of_before_a_reconnect_are_ignored(hand):
    p = hand.params(0)
    hand.told(p)
    hand.told(order(p, 0, 1, 0, 4))
    task = GradientTask(0, 0, p.params)
    hand.feed(Gone(THE_COORDINATOR, "reset"))
    assert hand.feed(Computed(task, hand.toy.compute(task), 0.5)) == []
