"""ListSessions: a page of a tenant's sessions, in the order of their ids, as the store has them.

No owner is asked, and none is looked up: any node answers for all sessions, also for those that are passivated. So what
a session has done since its last write to the store is not in it, and its node is the one that has not released it.
With a volatile store a node knows its own sessions alone.
"""

from agent_node.services.paging import Listing, page_size, read_page
from agent_node.store import ListedSession, SessionFilter, Store
from agentring.errors import MalformedRequest
from agentring.ids import DEFAULT_TENANT, SessionId, TenantId, parse_session, parse_session_prefix
from agentring.v1 import session_pb2


async def list_page(
    store: Store, key: bytes, tenant: TenantId, request: session_pb2.ListSessionsRequest
) -> session_pb2.ListSessionsResponse:
    """The page that is asked for. key: of the page tokens.

    Raises MalformedRequest, InvalidSessionId, InvalidPageToken, StoreUnavailable.
    """
    which, size = _filter(request), page_size(request.page_size)
    listed, token = await read_page(
        Listing(key, "sessions", tenant, (which.prefix, which.agent)),
        request.page_token,
        size,
        _parse_id,
        lambda after, at_most: store.list_sessions(tenant, which, after or "", at_most),
        lambda session: session.session_id,
    )
    return session_pb2.ListSessionsResponse(sessions=map(_described, listed), next_page_token=token)


def _filter(request: session_pb2.ListSessionsRequest) -> SessionFilter:
    if not request.agent.isprintable():
        raise MalformedRequest  # no agent is called so, and not every database takes it
    return SessionFilter(parse_session_prefix(request.session_id_prefix), request.agent)


def _parse_id(session_id: str) -> SessionId:
    return parse_session(DEFAULT_TENANT, session_id).session_id


def _described(listed: ListedSession) -> session_pb2.Session:
    session = session_pb2.Session(
        session_id=listed.session_id,
        agent=listed.agent,
        closed=listed.closed,
        node_id=listed.owner.rpartition("/")[0],
        epoch=listed.epoch,
        head_seq=listed.head_seq,
        oldest_seq=listed.oldest_seq,
        turns_completed=listed.turns_completed,
        running_turn_id=listed.running_turn_id,
        waiting_turns=listed.waiting_turns,
        questions=[asked.to_question() for asked in listed.questions],
    )
    session.create_time.FromNanoseconds(listed.created_ns)
    return session
