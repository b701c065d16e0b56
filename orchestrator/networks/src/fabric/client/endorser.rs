//! Proposals and endorsing peers.

use crate::{
    client::call::CallError,
    fabric::{
        client::{access::Access, grpc::Grpc},
        crypto::{envelope::Stamp, identity::Identity},
        proto::{
            common::HeaderType,
            peer::{
                self, ChaincodeHeaderExtension, ChaincodeId, ChaincodeInput, ChaincodeInvocationSpec,
                ChaincodeProposalPayload, ChaincodeSpec, ProposalResponse, SignedProposal,
            },
        },
    },
};
use chainpool_agent::NodeName;
use prost::Message;
use std::time::Duration;

/// Responses with this status or above are errors.
const ERROR: i32 = 400;

/// A signed chaincode call. All endorsers of a transaction get the same proposal.
pub(crate) struct Proposal {
    /// The transaction's id.
    pub(crate) transaction: String,
    /// Its headers.
    pub(crate) header: crate::fabric::proto::common::Header,
    /// A `ChaincodeProposalPayload`.
    pub(crate) payload: Vec<u8>,
    signed: SignedProposal,
}

impl Proposal {
    /// Calls a function of a chaincode. The channel `""` addresses the peer itself.
    pub(crate) fn new(
        identity: &Identity,
        channel: &str,
        chaincode: &str,
        function: &str,
        arguments: &[&[u8]],
    ) -> Self {
        Self::stamped(
            identity,
            &Stamp::new(identity),
            channel,
            chaincode,
            function,
            arguments,
        )
    }

    fn stamped(
        identity: &Identity,
        stamp: &Stamp,
        channel: &str,
        chaincode: &str,
        function: &str,
        arguments: &[&[u8]],
    ) -> Self {
        let chaincode_id = Some(ChaincodeId {
            name: chaincode.to_owned(),
        });
        let extension = ChaincodeHeaderExtension {
            chaincode_id: chaincode_id.clone(),
        }
        .encode_to_vec();
        let header = stamp.header(HeaderType::EndorserTransaction, channel, extension);
        let args = [function.as_bytes()]
            .iter()
            .chain(arguments)
            .map(|argument| argument.to_vec())
            .collect();
        let spec = ChaincodeSpec {
            r#type: 1,
            chaincode_id,
            input: Some(ChaincodeInput { args }),
        };
        let input = ChaincodeInvocationSpec {
            chaincode_spec: Some(spec),
        }
        .encode_to_vec();
        let payload = ChaincodeProposalPayload { input }.encode_to_vec();
        let proposal_bytes = peer::Proposal {
            header: header.encode_to_vec(),
            payload: payload.clone(),
        }
        .encode_to_vec();
        let signed = SignedProposal {
            signature: identity.sign(&proposal_bytes),
            proposal_bytes,
        };
        Self {
            transaction: stamp.transaction(),
            header,
            payload,
            signed,
        }
    }
}

/// A connection to a peer with an identity of its organisation.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The peer's name.
    pub(crate) node: NodeName,
    pub(crate) grpc: Grpc,
    /// The caller.
    pub(crate) identity: Identity,
}

impl Peer {
    /// Connects to a peer as its organisation's administrator.
    pub(crate) async fn connect(access: &Access, node: &NodeName) -> Result<Self, CallError> {
        let organisation = access
            .organisation(node)
            .ok_or_else(|| CallError::Refused(format!("{node} belongs to no organisation")))?;
        let identity = access.admin(organisation)?;
        Ok(Self {
            node: node.clone(),
            grpc: Grpc::connect(access, node).await?,
            identity,
        })
    }

    /// Has a proposal endorsed. A response without success is an error.
    pub(crate) async fn endorse(
        &self,
        proposal: &Proposal,
        limit: Duration,
    ) -> Result<ProposalResponse, CallError> {
        let answer: ProposalResponse = self
            .grpc
            .unary("/protos.Endorser/ProcessProposal", proposal.signed.clone(), limit)
            .await?;
        match &answer.response {
            Some(response) if response.status < ERROR => Ok(answer),
            Some(response) => Err(CallError::Refused(response.message.clone())),
            None => Err(CallError::Refused("the peer sent an empty response".to_owned())),
        }
    }

    /// Calls a function and decodes its result; nothing is ordered.
    pub(crate) async fn query<A: Message + Default>(
        &self,
        (channel, chaincode): (&str, &str),
        function: &str,
        arguments: &[&[u8]],
        limit: Duration,
    ) -> Result<A, CallError> {
        let proposal = Proposal::new(&self.identity, channel, chaincode, function, arguments);
        let answer = self.endorse(&proposal, limit).await?.response.unwrap_or_default();
        A::decode(&answer.payload[..])
            .map_err(|e| CallError::Refused(format!("cannot decode the response to {function}: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{
        crypto::envelope::tests::test_identity,
        proto::common::{ChannelHeader, Header},
    };

    #[test]
    fn a_proposal_names_chaincode_function_and_arguments() {
        let (identity, _) = test_identity();
        let stamp = Stamp::at(&identity, [2; 24], chainpool_api::Timestamp(1));
        let proposal = Proposal::stamped(&identity, &stamp, "ch1", "qscc", "GetChainInfo", &[b"ch1"]);
        let inner = peer::Proposal::decode(&proposal.signed.proposal_bytes[..]).expect("a proposal");
        let header = Header::decode(&inner.header[..]).expect("a header");
        assert_eq!(header, proposal.header);
        let channel = ChannelHeader::decode(&header.channel_header[..]).expect("a channel header");
        assert_eq!(
            (channel.r#type, channel.channel_id.as_str(), &channel.tx_id),
            (3, "ch1", &proposal.transaction)
        );
        let extension = ChaincodeHeaderExtension::decode(&channel.extension[..]).expect("an extension");
        assert_eq!(extension.chaincode_id.map(|id| id.name).as_deref(), Some("qscc"));
        let payload = ChaincodeProposalPayload::decode(&inner.payload[..]).expect("a payload");
        let spec = ChaincodeInvocationSpec::decode(&payload.input[..])
            .expect("a call")
            .chaincode_spec
            .expect("a call");
        assert_eq!(
            spec.input.expect("arguments").args,
            [b"GetChainInfo".to_vec(), b"ch1".to_vec()]
        );
    }
}
