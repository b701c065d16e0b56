//! Resources of a host that its clusters use. Each is one query for only the columns it needs: these reads are part of
//! the transactions that accept changes, and a host may have thousands of clusters.

use crate::{
    Conn, Json, Result,
    entity::{cluster, port},
};
use chainpool_agent::NodeName;
use chainpool_api::ClusterState;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect, Select,
    sea_query::Expr,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The number of a host's clusters and their memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostUsage {
    /// The existing clusters.
    pub clusters: i64,
    /// The memory of their nodes in bytes.
    pub memory_bytes: u64,
}

/// Selects the existing clusters of a host.
fn existing(host: Uuid) -> Select<cluster::Entity> {
    cluster::Entity::find()
        .filter(cluster::Column::DeletedAt.is_null())
        .filter(cluster::Column::HostId.eq(host))
}

impl<C: ConnectionTrait> Conn<C> {
    /// Reads the number of a host's clusters and their memory.
    pub async fn host_usage(&self, host: Uuid) -> Result<HostUsage> {
        let sums = existing(host)
            .select_only()
            .expr(Expr::cust("COUNT(*)"))
            .expr(Expr::cust("COALESCE(SUM(MAX(memory_bytes, 0)), 0)"));
        let (clusters, memory): (i64, i64) = sums.into_tuple().one(&self.0).await?.unwrap_or_default();
        Ok(HostUsage {
            clusters,
            memory_bytes: u64::try_from(memory).unwrap_or_default(),
        })
    }

    /// Counts the clusters of a host that are not being deleted.
    pub async fn clusters_kept(&self, host: Uuid) -> Result<u64> {
        let kept = existing(host).filter(cluster::Column::State.ne(ClusterState::Deleting.as_str()));
        Ok(kept.count(&self.0).await?)
    }

    /// Lists the published ports of a host's clusters, except those of one cluster.
    pub async fn ports_in_use(&self, host: Uuid, except: Option<Uuid>) -> Result<Vec<i64>> {
        let ports = port::Entity::find()
            .select_only()
            .column(port::Column::Port)
            .filter(port::Column::HostId.eq(host));
        let ports = match except {
            Some(cluster) => ports.filter(port::Column::ClusterId.ne(cluster)),
            None => ports,
        };
        Ok(ports.into_tuple().all(&self.0).await?)
    }

    /// Lists the networks of a host's clusters, except that of one cluster.
    pub async fn subnets_in_use(&self, host: Uuid, except: Uuid) -> Result<Vec<String>> {
        let subnets = existing(host)
            .select_only()
            .column(cluster::Column::Subnet)
            .filter(cluster::Column::Subnet.is_not_null())
            .filter(cluster::Column::Id.ne(except));
        Ok(subnets.into_tuple().all(&self.0).await?)
    }

    /// Lists the machine of each node of a host's clusters, except those of one cluster.
    pub async fn machines_in_use(&self, host: Uuid, except: Uuid) -> Result<Vec<String>> {
        let machines = existing(host)
            .select_only()
            .column(cluster::Column::Machines)
            .filter(cluster::Column::Id.ne(except));
        let machines: Vec<Json<BTreeMap<NodeName, String>>> = machines.into_tuple().all(&self.0).await?;
        Ok(machines.into_iter().flat_map(|of| of.0.into_values()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterRow, EnumColumn, PortRow, Store, testing};
    use chainpool_api::Timestamp;
    use proptest::{collection::vec, prelude::*};

    /// A cluster of the test: on the first host or the second, its state, ports and machines.
    #[derive(Debug, Clone)]
    struct Case {
        first_host: bool,
        deleted: bool,
        deleting: bool,
        has_subnet: bool,
        ports: usize,
        machines: usize,
        memory: i64,
    }

    fn case() -> impl Strategy<Value = Case> {
        let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
        (flags, 0..4_usize, 0..3_usize, 0..1_i64 << 40).prop_map(|(flags, ports, machines, memory)| {
            let (first_host, deleted, deleting, has_subnet) = flags;
            Case {
                first_host,
                deleted,
                deleting,
                has_subnet,
                ports,
                machines,
                memory,
            }
        })
    }

    /// The usage of a host, computed from whole rows.
    struct Expected {
        usage: HostUsage,
        kept: usize,
        ports: Vec<i64>,
        subnets: Vec<String>,
        machines: Vec<String>,
    }

    fn expected(clusters: &[ClusterRow], ports: &[PortRow], host: Uuid, except: Uuid) -> Expected {
        let on_host = || {
            clusters
                .iter()
                .filter(move |row| row.host_id == host && row.deleted_at.is_none())
        };
        let others = || on_host().filter(move |row| row.id != except);
        Expected {
            usage: HostUsage {
                clusters: i64::try_from(on_host().count()).unwrap(),
                memory_bytes: on_host()
                    .map(|row| u64::try_from(row.memory_bytes).unwrap())
                    .sum(),
            },
            kept: on_host()
                .filter(|row| row.state.0 != ClusterState::Deleting)
                .count(),
            ports: ports
                .iter()
                .filter(|row| row.host_id == host && row.cluster_id != except)
                .map(|row| row.port)
                .collect(),
            subnets: others().filter_map(|row| row.subnet.clone()).collect(),
            machines: others()
                .flat_map(|row| row.machines.0.values().cloned())
                .collect(),
        }
    }

    async fn insert(store: &Store, cases: &[Case]) -> (Vec<Uuid>, Vec<ClusterRow>, Vec<PortRow>) {
        let now = Timestamp::now();
        let hosts = [testing::host(now), testing::host(now)];
        let (mut clusters, mut ports) = (Vec::new(), Vec::new());
        let mut tx = store.begin().await.unwrap();
        for (place, case) in cases.iter().enumerate() {
            let host = &hosts[usize::from(case.first_host)];
            let node = |index: usize| NodeName::parse(&format!("v{index}")).unwrap();
            let mut row = ClusterRow {
                subnet: case.has_subnet.then(|| format!("10.0.{place}.0/26")),
                machines: Json(
                    (0..case.machines)
                        .map(|index| (node(index), format!("m{index}")))
                        .collect(),
                ),
                memory_bytes: case.memory,
                ..testing::free(host, &format!("c{place}"), now)
            };
            if case.deleting {
                row.state = EnumColumn(ClusterState::Deleting);
            }
            let own: Vec<PortRow> = (0..case.ports)
                .map(|index| PortRow {
                    host_id: host.id,
                    port: i64::try_from(20_000 + place * 10 + index).unwrap(),
                    cluster_id: row.id,
                    node: node(index).to_string(),
                    name: "rpc".to_owned(),
                })
                .collect();
            tx.cluster_insert(row.clone(), own.clone()).await.unwrap();
            if case.deleted {
                tx.cluster_mark_deleted(row, now).await.unwrap();
            } else {
                clusters.push(row);
                ports.extend(own);
            }
        }
        tx.commit("test").await.unwrap();
        (hosts.map(|host| host.id).to_vec(), clusters, ports)
    }

    fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
        items.sort();
        items
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_usage_of_a_host_is_that_of_the_rows_of_its_clusters(cases in vec(case(), 0..12)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let folder = tempfile::TempDir::new().unwrap();
                let store = Store::open(folder.path(), None).await.unwrap();
                let (hosts, clusters, ports) = insert(&store, &cases).await;
                let read = store.read();
                let own = clusters.first().map(|row| row.id);
                for host in hosts {
                    let of_all = read.ports_in_use(host, None).await.unwrap();
                    assert_eq!(of_all, read.ports_in_use(host, Some(Uuid::nil())).await.unwrap());
                    for except in own.into_iter().chain([Uuid::nil()]) {
                        let expected = expected(&clusters, &ports, host, except);
                        let ports = read.ports_in_use(host, Some(except)).await.unwrap();
                        let subnets = read.subnets_in_use(host, except).await.unwrap();
                        let machines = read.machines_in_use(host, except).await.unwrap();
                        assert_eq!(read.host_usage(host).await.unwrap(), expected.usage);
                        assert_eq!(usize::try_from(read.clusters_kept(host).await.unwrap()).unwrap(), expected.kept);
                        assert_eq!(sorted(ports), sorted(expected.ports));
                        assert_eq!(sorted(subnets), sorted(expected.subnets));
                        assert_eq!(sorted(machines), sorted(expected.machines));
                    }
                }
                store.close().await.unwrap();
            });
        }
    }
}
