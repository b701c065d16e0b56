//! Transactions: endorsed by peers, ordered, and valid in a block of the endorsing peers.

use crate::{
    client::call::{ACTION, CallError, within},
    fabric::{
        client::{
            access::Access,
            deliver::{Blocks, Seek, Service},
            endorser::{Peer, Proposal},
            orderer,
        },
        crypto::{envelope::seal, identity::Identity},
        proto::{
            common::Envelope,
            peer::{
                ChaincodeActionPayload, ChaincodeEndorsedAction, ProposalResponse, Transaction,
                TransactionAction,
            },
        },
    },
};
use futures::future::try_join_all;
use prost::Message;
use std::time::Duration;

/// Has all these peers endorse a proposal, submits the transaction, and waits until each of them has it in a
/// block.
pub(crate) async fn submit(
    access: &Access,
    channel: &str,
    proposal: &Proposal,
    peers: &[&Peer],
) -> Result<(), CallError> {
    let first = peers
        .first()
        .ok_or_else(|| CallError::Unavailable("no peer is responsive".to_owned()))?;
    // The transaction will be in a block of at least this number.
    let heights = try_join_all(
        peers
            .iter()
            .map(|peer| async { peer.info(channel).await.map_err(|e| e.of(&peer.node)) }),
    )
    .await?;
    let endorse = |peer: &'_ &Peer| {
        let peer = (*peer).clone();
        async move { peer.endorse(proposal, ACTION).await.map_err(|e| e.of(&peer.node)) }
    };
    let responses = try_join_all(peers.iter().map(endorse)).await?;
    let envelope = assemble(&first.identity, proposal, &responses)?;
    orderer::broadcast(access, &envelope).await?;
    let batch_timeout = Duration::from_millis(access.model.parameters.batch_timeout_ms.into());
    let limit = access.policy().commit + batch_timeout;
    let seen = peers.iter().zip(&heights).map(|(peer, info)| async move {
        let committed = within(
            limit,
            committed(peer, channel, &proposal.transaction, info.height),
        );
        committed.await.map_err(|e| e.of(&peer.node))
    });
    try_join_all(seen).await.map(drop)
}

/// Waits until a peer has a transaction in a block from this number on.
async fn committed(peer: &Peer, channel: &str, transaction: &str, from: u64) -> Result<(), CallError> {
    let mut blocks = Blocks::open(
        &peer.grpc,
        Service::Filtered,
        &peer.identity,
        channel,
        Seek::From(from),
    )
    .await?;
    loop {
        let block = blocks.filtered().await?;
        if let Some(found) = block
            .filtered_transactions
            .iter()
            .find(|found| found.txid == transaction)
        {
            return match found.tx_validation_code {
                0 => Ok(()),
                code => Err(CallError::Refused(format!(
                    "the transaction is invalid: code {code} in block {}",
                    block.number
                ))),
            };
        }
    }
}

/// Builds the transaction from a proposal and its responses, which must all be equal.
fn assemble(
    identity: &Identity,
    proposal: &Proposal,
    responses: &[ProposalResponse],
) -> Result<Envelope, CallError> {
    let payload = responses
        .first()
        .map(|response| response.payload.clone())
        .unwrap_or_default();
    if payload.is_empty() || responses.iter().any(|response| response.payload != payload) {
        return Err(CallError::Refused(
            "the peers' endorsements differ: one of them is behind".to_owned(),
        ));
    }
    let endorsements = responses
        .iter()
        .filter_map(|response| response.endorsement.clone())
        .collect();
    let action = ChaincodeActionPayload {
        chaincode_proposal_payload: proposal.payload.clone(),
        action: Some(ChaincodeEndorsedAction {
            proposal_response_payload: payload,
            endorsements,
        }),
    };
    let action = TransactionAction {
        header: proposal.header.signature_header.clone(),
        payload: action.encode_to_vec(),
    };
    Ok(seal(
        identity,
        proposal.header.clone(),
        Transaction {
            actions: vec![action],
        }
        .encode_to_vec(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{
        crypto::envelope::tests::test_identity,
        proto::{
            common::Payload,
            lossless::tests::{mark, unknown_field},
            peer::Endorsement,
        },
    };

    fn answer(payload: &[u8], who: u8) -> ProposalResponse {
        let endorsement = Endorsement {
            endorser: vec![who],
            signature: vec![who],
        };
        let mut endorsement = endorsement.into();
        mark(&mut endorsement);
        ProposalResponse {
            payload: payload.to_vec(),
            endorsement: Some(endorsement),
            ..ProposalResponse::default()
        }
    }

    #[test]
    fn a_transaction_holds_the_proposal_and_every_endorsement() {
        let (identity, _) = test_identity();
        let proposal = Proposal::new(&identity, "ch1", "basic", "put", &[b"a"]);
        let envelope =
            assemble(&identity, &proposal, &[answer(b"same", 1), answer(b"same", 2)]).expect("it fits");
        let payload = Payload::decode(&envelope.payload[..]).expect("a payload");
        assert_eq!(payload.header.as_ref(), Some(&proposal.header));
        let Transaction { actions } = Transaction::decode(&payload.data[..]).expect("a transaction");
        let [action] = &actions[..] else {
            panic!("one action")
        };
        assert_eq!(action.header, proposal.header.signature_header);
        let action = ChaincodeActionPayload::decode(&action.payload[..]).expect("an action");
        assert_eq!(action.chaincode_proposal_payload, proposal.payload);
        let endorsed = action.action.expect("endorsed");
        assert_eq!(
            (endorsed.proposal_response_payload, endorsed.endorsements.len()),
            (b"same".to_vec(), 2)
        );
        assert!(
            endorsed
                .endorsements
                .iter()
                .all(|endorsement| endorsement.unknown() == unknown_field())
        );
    }

    #[test]
    fn differing_responses_are_refused() {
        let (identity, _) = test_identity();
        let proposal = Proposal::new(&identity, "ch1", "basic", "put", &[]);
        for answers in [
            &[answer(b"one", 1), answer(b"other", 2)][..],
            &[answer(b"", 1)],
            &[],
        ] {
            assert!(matches!(
                assemble(&identity, &proposal, answers),
                Err(CallError::Refused(_))
            ));
        }
    }
}
