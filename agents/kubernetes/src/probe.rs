//! The probe of a cluster.

use crate::{KUBERNETES, KubernetesAgent, server::CALL};
use chainpool_agent::{Error, Machine, Probe, Result, SwarmRole};
use http::{HeaderMap, Request, header::DATE};
use http_body_util::BodyExt;
use k8s_openapi::{
    api::core::v1::{Namespace, Node},
    apimachinery::pkg::{api::resource::Quantity, version::Info},
};
use kube::{ResourceExt, api::ListParams, client::Body};
use std::time::SystemTime;
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

/// Its uid is the permanent identity of the cluster: this namespace cannot be recreated.
const SYSTEM: &str = "kube-system";

impl KubernetesAgent {
    pub(crate) async fn cluster_probe(&self) -> Result<Probe> {
        let (version, skew_ms) = self.version().await?;
        let namespaces = self.server.all::<Namespace>()?;
        let nodes = self.server.all::<Node>()?;
        let all = ListParams::default();
        let (system, nodes) = tokio::join!(
            self.server.call(CALL, namespaces.get(SYSTEM)),
            self.server.call(CALL, nodes.list(&all))
        );
        let system = system
            .map_err(|f| f.into_error("get the namespace kube-system, whose uid identifies the cluster"))?;
        let nodes = nodes.map_err(|f| f.into_error("list nodes"))?.items;
        let Some(engine_id) = system.uid() else {
            return Err(Error::Refused(format!(
                "{}: the namespace kube-system has no uid to identify the cluster",
                self.server.address()
            )));
        };
        self.server.mark_verified();
        let machines: Vec<_> = nodes.iter().map(machine).collect();
        let info = nodes
            .first()
            .and_then(|n| n.status.as_ref())
            .and_then(|s| s.node_info.as_ref());
        Ok(Probe {
            kind: KUBERNETES,
            engine_id,
            name: self.server.address(),
            version: version.git_version,
            api_version: format!("{}.{}", version.major, version.minor),
            storage_driver: self
                .storage_class_find()
                .await?
                .map(|class| class.name_any())
                .unwrap_or_default(),
            architecture: info.map(|i| i.architecture.clone()).unwrap_or_default(),
            swarm: SwarmRole::None,
            cpus: machines.iter().map(|m| m.cpus).sum(),
            memory_bytes: machines.iter().map(|m| m.memory_bytes).sum(),
            disk: None,
            skew_ms,
            machines,
        })
    }

    /// The server's version, and its clock skew by the date of the response.
    async fn version(&self) -> Result<(Info, Option<i64>)> {
        let client = self.server.client()?;
        let request = Request::get("/version")
            .body(Body::empty())
            .map_err(|e| Error::Refused(format!("{}: {e}", self.server.address())))?;
        let sent = OffsetDateTime::from(SystemTime::now());
        let response = self
            .server
            .call(CALL, client.send(request))
            .await
            .map_err(|f| f.into_error("get the version"))?;
        let received = OffsetDateTime::from(SystemTime::now());
        let skew = skew(response.headers(), sent, received);
        let status = response.status();
        let body = self
            .server
            .call(CALL, async { response.into_body().collect().await })
            .await
            .map_err(|f| f.into_error("get the version"))?;
        if !status.is_success() {
            return Err(self
                .server
                .status_only_error(status.as_u16())
                .into_error("get the version"));
        }
        let version = serde_json::from_slice(&body.to_bytes()).map_err(|_| {
            Error::Refused(format!(
                "{}: not a supported API server; check the address",
                self.server.address()
            ))
        })?;
        Ok((version, skew))
    }
}

fn machine(node: &Node) -> Machine {
    let status = node.status.as_ref();
    let addresses = status.and_then(|s| s.addresses.as_deref()).unwrap_or_default();
    let address = |kind: &str| {
        addresses
            .iter()
            .find(|a| a.type_ == kind)
            .map(|a| a.address.clone())
    };
    let allocatable = status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()));
    let amount = |name: &str| {
        allocatable
            .and_then(|r| r.get(name))
            .and_then(quantity)
            .unwrap_or_default()
    };
    Machine {
        id: node.name_any(),
        name: address("Hostname").unwrap_or_else(|| node.name_any()),
        address: address("ExternalIP")
            .or_else(|| address("InternalIP"))
            .unwrap_or_default(),
        cpus: u32::try_from(amount("cpu").div_ceil(1000)).unwrap_or(u32::MAX),
        memory_bytes: u64::try_from(amount("memory") / 1000).unwrap_or(u64::MAX),
        closed: closed(node),
    }
}

/// The reason why a machine accepts no new pods.
fn closed(node: &Node) -> Option<String> {
    let spec = node.spec.as_ref();
    if spec.and_then(|s| s.unschedulable) == Some(true) {
        return Some("cordoned".to_owned());
    }
    let ready = node
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_ref())
        .and_then(|all| all.iter().find(|c| c.type_ == "Ready"));
    match ready {
        Some(condition) if condition.status == "True" => {}
        Some(condition) => {
            return Some(
                condition
                    .message
                    .clone()
                    .filter(|m| !m.is_empty())
                    .unwrap_or_else(|| "not ready".to_owned()),
            );
        }
        None => return Some("not ready".to_owned()),
    }
    let taint = spec.and_then(|s| s.taints.as_ref()).and_then(|all| {
        all.iter()
            .find(|t| t.effect == "NoSchedule" || t.effect == "NoExecute")
    });
    taint.map(|t| format!("tainted {}", t.key))
}

/// A quantity in thousandths, the smallest unit used for CPU and memory.
fn quantity(quantity: &Quantity) -> Option<u128> {
    let text = quantity.0.as_str();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction: u128 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let number = whole.parse::<u128>().ok()? * 1000 + fraction;
    let power = |unit: char| {
        "kMGTPE"
            .find(unit.to_ascii_lowercase())
            .or_else(|| "KMGTPE".find(unit))
            .and_then(|n| u32::try_from(n + 1).ok())
    };
    let mut letters = unit.chars();
    match (letters.next(), letters.next()) {
        (None, _) => Some(number),
        (Some('m'), None) => Some(number / 1000),
        (Some(letter), Some('i')) => Some(number * 1024_u128.pow(power(letter)?)),
        (Some(letter), None) => Some(number * 1000_u128.pow(power(letter)?)),
        _ => None,
    }
}

/// The server's clock minus ours. Its date has whole seconds, so half a second is added. The response is
/// assumed to be created half-way between request and receipt.
fn skew(headers: &HeaderMap, sent: OffsetDateTime, received: OffsetDateTime) -> Option<i64> {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let theirs = PrimitiveDateTime::parse(headers.get(DATE)?.to_str().ok()?, format)
        .ok()?
        .assume_utc()
        + time::Duration::milliseconds(500);
    let ours: OffsetDateTime = sent + (received - sent) / 2;
    i64::try_from((theirs - ours).whole_milliseconds()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use time::macros::datetime;

    #[test]
    fn quantities_are_parsed_in_all_units() {
        for (text, thousandths) in [
            ("2", 2000),
            ("1900m", 1900),
            ("1.5", 1500),
            ("24Ki", 24_576_000),
            ("1Gi", 1_073_741_824_000),
            ("2M", 2_000_000_000),
            ("3k", 3_000_000),
        ] {
            assert_eq!(quantity(&Quantity(text.into())), Some(thousandths), "{text}");
        }
        assert_eq!(quantity(&Quantity("x".into())), None);
    }

    #[test]
    fn clock_skew_is_computed_from_the_date_header() {
        let headers =
            HeaderMap::from_iter([(DATE, HeaderValue::from_static("Thu, 01 Jan 2026 00:00:05 GMT"))]);
        assert_eq!(
            skew(
                &headers,
                datetime!(2026-01-01 00:00:00 UTC),
                datetime!(2026-01-01 00:00:01 UTC)
            ),
            Some(5000)
        );
        assert_eq!(
            skew(
                &HeaderMap::new(),
                datetime!(2026-01-01 00:00:00 UTC),
                datetime!(2026-01-01 00:00:00 UTC)
            ),
            None
        );
    }

    #[test]
    fn unschedulable_machines_report_the_reason() {
        let node = |spec, ready: &str| -> Node {
            let condition = serde_json::json!([{ "type": "Ready", "status": ready, "message": "" }]);
            serde_json::from_value(serde_json::json!({ "spec": spec, "status": { "conditions": condition } }))
                .expect("a node")
        };
        assert_eq!(closed(&node(serde_json::json!({}), "True")), None);
        assert_eq!(
            closed(&node(serde_json::json!({}), "Unknown")).as_deref(),
            Some("not ready")
        );
        assert_eq!(
            closed(&node(serde_json::json!({ "unschedulable": true }), "True")).as_deref(),
            Some("cordoned")
        );
        let taints = serde_json::json!({ "taints": [{ "key": "gpu", "effect": "NoSchedule" }] });
        assert_eq!(closed(&node(taints, "True")).as_deref(), Some("tainted gpu"));
    }
}
