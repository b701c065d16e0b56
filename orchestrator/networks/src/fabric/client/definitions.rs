//! System chaincode `_lifecycle` of a peer: chaincode packages and definitions.

use crate::{
    client::call::{ACTION, ANSWER, CallError},
    fabric::{
        client::endorser::{Peer, Proposal},
        model::Chaincode,
        proto::lifecycle::{
            ApproveChaincodeDefinitionForMyOrgArgs, ChaincodeSource, CheckCommitReadinessResult,
            CommitChaincodeDefinitionArgs, InstallChaincodeArgs, InstallChaincodeResult, LocalPackage,
            QueryChaincodeDefinitionArgs, QueryChaincodeDefinitionResult, QueryInstalledChaincodesArgs,
            QueryInstalledChaincodesResult, Source,
        },
    },
};
use prost::Message;
use std::collections::BTreeMap;

const LIFECYCLE: &str = "_lifecycle";

/// A committed chaincode definition as a peer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Number of this definition, from 1.
    pub(crate) sequence: i64,
    pub(crate) version: String,
    /// Approvals by MSP id. Peers of organisations without approval do not endorse.
    pub(crate) approvals: BTreeMap<String, bool>,
}

impl Peer {
    /// Ids of the installed packages.
    pub(crate) async fn installed(&self) -> Result<Vec<String>, CallError> {
        let question = QueryInstalledChaincodesArgs {}.encode_to_vec();
        let found: QueryInstalledChaincodesResult = self
            .query(("", LIFECYCLE), "QueryInstalledChaincodes", &[&question], ANSWER)
            .await?;
        Ok(found
            .installed_chaincodes
            .into_iter()
            .map(|chaincode| chaincode.package_id)
            .collect())
    }

    /// Installs a package. Idempotent.
    pub(crate) async fn install(&self, chaincode: &Chaincode, package: Vec<u8>) -> Result<(), CallError> {
        let arguments = InstallChaincodeArgs {
            chaincode_install_package: package,
        }
        .encode_to_vec();
        let installed: Result<InstallChaincodeResult, _> = self
            .query(("", LIFECYCLE), "InstallChaincode", &[&arguments], ACTION)
            .await;
        match installed {
            Ok(installed) if installed.package_id == chaincode.package_id => Ok(()),
            Ok(other) => Err(CallError::Refused(format!(
                "the peer computed package id {}, expected {}",
                other.package_id, chaincode.package_id
            ))),
            Err(CallError::Refused(why)) if why.contains("already successfully installed") => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Approvals of the next definition, by MSP id.
    pub(crate) async fn approvals(
        &self,
        channel: &str,
        chaincode: &Chaincode,
        sequence: i64,
    ) -> Result<BTreeMap<String, bool>, CallError> {
        let question = definition(chaincode, sequence);
        let answer: CheckCommitReadinessResult = self
            .query((channel, LIFECYCLE), "CheckCommitReadiness", &[&question], ANSWER)
            .await?;
        Ok(answer.approvals)
    }

    /// The current definition. `None`: there is none yet.
    pub(crate) async fn definition(
        &self,
        channel: &str,
        chaincode: &Chaincode,
    ) -> Result<Option<Definition>, CallError> {
        let question = QueryChaincodeDefinitionArgs {
            name: chaincode.name.clone(),
        }
        .encode_to_vec();
        let answer: Result<QueryChaincodeDefinitionResult, _> = self
            .query(
                (channel, LIFECYCLE),
                "QueryChaincodeDefinition",
                &[&question],
                ANSWER,
            )
            .await;
        match answer {
            Ok(QueryChaincodeDefinitionResult {
                sequence,
                version,
                approvals,
            }) => Ok(Some(Definition {
                sequence,
                version,
                approvals,
            })),
            Err(CallError::Refused(why)) if why.contains("is not defined") => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Proposal to approve a definition for this peer's organisation.
    pub(crate) fn approval(&self, channel: &str, chaincode: &Chaincode, sequence: i64) -> Proposal {
        let package = LocalPackage {
            package_id: chaincode.package_id.clone(),
        };
        let arguments = ApproveChaincodeDefinitionForMyOrgArgs {
            sequence,
            name: chaincode.name.clone(),
            version: chaincode.version.clone(),
            source: Some(ChaincodeSource {
                r#type: Some(Source::LocalPackage(package)),
            }),
        };
        Proposal::new(
            &self.identity,
            channel,
            LIFECYCLE,
            "ApproveChaincodeDefinitionForMyOrg",
            &[&arguments.encode_to_vec()],
        )
    }

    /// Proposal to commit a definition; needs endorsements of a majority of the organisations.
    pub(crate) fn commit(&self, channel: &str, chaincode: &Chaincode, sequence: i64) -> Proposal {
        Proposal::new(
            &self.identity,
            channel,
            LIFECYCLE,
            "CommitChaincodeDefinition",
            &[&definition(chaincode, sequence)],
        )
    }
}

/// A definition as argument of readiness checks and commits.
fn definition(chaincode: &Chaincode, sequence: i64) -> Vec<u8> {
    let Chaincode { name, version, .. } = chaincode;
    CommitChaincodeDefinitionArgs {
        sequence,
        name: name.clone(),
        version: version.clone(),
    }
    .encode_to_vec()
}
