"""What commands do to the cluster's own data in etcd, for `agentring admin` and for a local cluster's start."""

from agentring.cli.errors import AdminFailed
from agentring.cluster import store_record
from agentring.cluster.etcd.channel import EtcdTls
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.keys import Keys
from agentring.cluster.new_generation import NodesRegistered
from agentring.v1.cluster_pb2 import StoreRecord


async def forget_store(endpoints: tuple[str, ...], tls: EtcdTls | None, keys: Keys) -> StoreRecord | None:
    """Lets the next node bring any store; what is forgotten. Raises AdminFailed."""
    try:
        async with EtcdClient(endpoints, tls=tls) as etcd:
            return await store_record.forget(etcd, keys)
    except NodesRegistered as error:
        raise AdminFailed(still_registered(error)) from error
    except (EtcdError, ValueError) as error:
        raise AdminFailed(str(error)) from error


def still_registered(error: NodesRegistered) -> str:
    """The message about nodes that stand in the way."""
    return f"nodes are registered: {', '.join(error.node_ids)}; stop them, or wait until their leases have run out"
