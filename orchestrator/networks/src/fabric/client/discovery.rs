//! Service discovery: a peer's gateway can endorse only after the peer has discovered the other
//! organisations' peers.

use crate::{
    client::call::CallError,
    fabric::{
        client::{access::Access, endorser::Peer},
        proto::discovery::{
            AuthInfo, ChaincodeCall, ChaincodeInterest, ChaincodeQuery, Found, Query, Request, Response,
            SignedRequest,
        },
    },
    retry::until,
};
use chainpool_agent::NodeName;
use futures::future::try_join_all;
use prost::Message;
use std::time::Duration;
use tokio::time::Instant;

/// Time limit of a query.
const LIMIT: Duration = Duration::from_secs(2);

/// Waits until every peer knows enough endorsers for every chaincode on every channel.
pub(crate) async fn wait_until_endorsable(access: &Access, deadline: Instant) -> Result<(), CallError> {
    let peers = access
        .peers()
        .map(|(_, node)| wait_until_endorsable_at(access, node, deadline));
    try_join_all(peers).await.map(drop)
}

async fn wait_until_endorsable_at(
    access: &Access,
    node: &NodeName,
    deadline: Instant,
) -> Result<(), CallError> {
    for channel in &access.model.channels {
        for chaincode in &access.model.chaincodes {
            let knows = async || {
                let peer = Peer::connect(access, node).await?;
                knows_endorsers(&peer, &channel.name, &chaincode.name).await
            };
            until(deadline, knows).await.map_err(|e| e.of(node))?;
        }
    }
    Ok(())
}

/// Queries a peer for the endorsers of a chaincode. Too few endorsers are an error.
async fn knows_endorsers(peer: &Peer, channel: &str, chaincode: &str) -> Result<(), CallError> {
    let payload = request(&peer.identity.creator(), channel, chaincode).encode_to_vec();
    let signed = SignedRequest {
        signature: peer.identity.sign(&payload),
        payload,
    };
    let answer: Response = peer
        .grpc
        .unary("/discovery.Discovery/Discover", signed, LIMIT)
        .await?;
    let nobody = || {
        CallError::Refused(format!(
            "no endorsers discovered yet for {chaincode} on {channel}"
        ))
    };
    match answer.results.into_iter().next().and_then(|result| result.found) {
        Some(Found::Chaincodes(found)) if !found.content.is_empty() => Ok(()),
        Some(Found::Error(error)) => Err(CallError::Refused(error.content)),
        _ => Err(nobody()),
    }
}

fn request(client: &[u8], channel: &str, chaincode: &str) -> Request {
    let interest = ChaincodeInterest {
        chaincodes: vec![ChaincodeCall {
            name: chaincode.to_owned(),
        }],
    };
    let query = Query {
        channel: channel.to_owned(),
        cc_query: Some(ChaincodeQuery {
            interests: vec![interest],
        }),
    };
    Request {
        authentication: Some(AuthInfo {
            client_identity: client.to_vec(),
        }),
        queries: vec![query],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_asks_for_one_chaincode_of_one_channel() {
        let bytes = request(b"me", "ch1", "basic").encode_to_vec();
        // Field numbers by discovery/protocol.proto: authentication 1 {client_identity 1}, queries 2 {channel
        // 1, cc_query 4 {interests 1 {chaincodes 1 {name 1}}}}.
        let expected = b"\x0a\x04\x0a\x02me\x12\x12\x0a\x03ch1\x22\x0b\x0a\x09\x0a\x07\x0a\x05basic";
        assert_eq!(bytes, expected);
    }
}
