import pytest

from syncws.exceptions import InvalidState
from syncws.sansio.state import TRANSITIONS, Role, State, Transition, advance

IMPOSSIBLE = [
    (state, transition)
    for state in State
    for transition in Transition
    if (state, transition) not in TRANSITIONS
]


def test_roles_and_states_have_the_numbers_that_programs_know():
    assert [(role.name, int(role)) for role in Role] == [("SERVER", 0), ("CLIENT", 1)]
    assert [state.name for state in State] == ["CONNECTING", "OPEN", "CLOSING", "CLOSED"]
    assert [int(state) for state in State] == [0, 1, 2, 3]


@pytest.mark.parametrize(("before", "transition"), TRANSITIONS)
def test_state_never_goes_back(before, transition):
    after = advance(before, transition)
    assert after is TRANSITIONS[before, transition]
    assert after >= before


@pytest.mark.parametrize("state", list(State))
def test_connection_can_end_or_be_failed_in_every_state(state):
    assert advance(state, Transition.ENDED) is State.CLOSED
    assert advance(state, Transition.FAILED) in (State.CLOSING, State.CLOSED)


def test_only_the_opening_handshake_opens_and_only_it_is_refused():
    for transition in (Transition.OPENED, Transition.REFUSED):
        assert [state for state in State if (state, transition) in TRANSITIONS] == [
            State.CONNECTING
        ]


@pytest.mark.parametrize(("state", "transition"), IMPOSSIBLE)
def test_impossible_transition_says_what_and_when(state, transition):
    with pytest.raises(InvalidState, match=f"{transition.value}, .* is {state.name}"):
        advance(state, transition)


def test_impossible_transitions_are_these():
    assert set(IMPOSSIBLE) == {
        (State.CONNECTING, Transition.CLOSE_SENT),
        (State.CONNECTING, Transition.CLOSE_RECEIVED),
        (State.OPEN, Transition.OPENED),
        (State.OPEN, Transition.REFUSED),
        (State.CLOSING, Transition.OPENED),
        (State.CLOSING, Transition.REFUSED),
        (State.CLOSED, Transition.OPENED),
        (State.CLOSED, Transition.REFUSED),
        (State.CLOSED, Transition.CLOSE_SENT),
        (State.CLOSED, Transition.CLOSE_RECEIVED),
    }
