"""What `agentring admin init` does to etcd: users and roles as they are to be, `meta` and `store`, the check turned on.

Guarantees: it is a list of steps, each of which is named before it is carried out and changes what differs and nothing
else, so that a second call finds nothing to do (but for passwords, where etcd checks nobody and so cannot say which it
has: they are set again), and one that ended half-way is gone on with by calling it again. A cluster's roles get exactly
their permissions: what else they have is taken away; other roles and users are left alone. etcd's check of who calls is
turned on last, and only when that was asked for.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agentring.cluster.access import Role, User, roles_of, users_of
from agentring.cluster.etcd.access_control import is_on, require_fit
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.users import ROOT, EtcdUsers, as_granted
from agentring.cluster.history import ensure_meta, readable_meta
from agentring.cluster.keys import Keys
from agentring.ids import NodeId

Password = Callable[[str], str | None]
"""The password that a user is to have; None: it has none, and is known by its certificate."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change."""

    what: str
    """A clause for people, without a secret."""
    work: Callable[[], Awaitable[object]]


async def steps_to_prepare(
    etcd: EtcdClient, keys: Keys, node_ids: Sequence[NodeId], password: Password, *, enable: bool
) -> list[Step]:
    """What is to be done; empty: nothing. password: asked for each user, root included, when its step is carried out
    or where etcd can say whether it has it. enable: turn the check on. Raises EtcdTooOld, EtcdError."""
    await require_fit(etcd)
    users, checked = EtcdUsers(etcd), await is_on(etcd)
    steps: list[Step] = []
    if readable_meta(await etcd.get(keys.meta)) is None:
        steps.append(Step("write the cluster's record", lambda: ensure_meta(etcd, keys)))
    known_roles, known_users = await users.roles(), await users.users()
    if ROOT not in known_roles:
        steps.append(_add_role(users, ROOT))
    for role in roles_of(keys, node_ids):
        steps += await _role_steps(users, role, there=role.name in known_roles)
    for user in (User(ROOT, frozenset({ROOT})), *users_of(keys, node_ids)):
        steps += await _user_steps(users, user, password, there=user.name in known_users, checked=checked)
    if enable and not checked:
        steps.append(Step("turn on etcd's check of who calls", users.enable))
    return steps


def _add_role(users: EtcdUsers, name: str) -> Step:
    return Step(f"add the role {name}", lambda: users.add_role(name))


async def _role_steps(users: EtcdUsers, role: Role, *, there: bool) -> list[Step]:
    steps = [] if there else [_add_role(users, role.name)]
    found = await users.permissions_of(role.name) if there else frozenset()
    wanted = {as_granted(each): each for each in sorted(role.permissions)}
    for extra in sorted(found - wanted.keys(), key=lambda each: each.key):
        steps.append(
            Step(
                f"take from the role {role.name} what it may do with {extra.key.decode(errors='backslashreplace')}",
                lambda extra=extra: users.revoke(role.name, extra),  # type: ignore[misc]
            )
        )
    replaced = {(each.key, each.range_end) for each in found - wanted.keys()}
    for granted, permission in wanted.items():
        if granted not in found or (granted.key, granted.range_end) in replaced:
            what = f"{'write' if permission.write else 'read'} {permission.key}{'*' if permission.prefix else ''}"
            steps.append(
                Step(f"let the role {role.name} {what}", lambda granted=granted: users.grant(role.name, granted))  # type: ignore[misc]
            )
    return steps


async def _user_steps(users: EtcdUsers, user: User, password: Password, *, there: bool, checked: bool) -> list[Step]:
    steps = []
    if not there:
        steps.append(Step(f"add the user {user.name}", lambda: users.add_user(user.name, password(user.name))))
    elif (
        # An etcd that checks nobody cannot say which password it has; one that does has let root in with its own.
        (user.name != ROOT or not checked)
        and (secret := password(user.name)) is not None
        and not (checked and await users.takes(user.name, secret))
    ):
        steps.append(Step(f"set the password of {user.name}", lambda: users.set_password(user.name, secret)))
    found = await users.roles_of(user.name) if there else frozenset()
    for role in sorted(user.roles - found):
        steps.append(Step(f"give {user.name} the role {role}", lambda role=role: users.give(user.name, role)))  # type: ignore[misc]
    for role in sorted(found - user.roles):
        steps.append(Step(f"take the role {role} from {user.name}", lambda role=role: users.take(user.name, role)))  # type: ignore[misc]
    return steps
