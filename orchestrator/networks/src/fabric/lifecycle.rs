//! The system chaincode `_lifecycle` of a peer: packages and definitions of chaincodes.

use super::{
    connect::{ACTION, ANSWER, CallError},
    endorser::{Peer, Proposal},
    facts::Chaincode,
    proto::lifecycle::{
        ApproveChaincodeDefinitionForMyOrgArgs, ChaincodeSource, CheckCommitReadinessResult,
        CommitChaincodeDefinitionArgs, InstallChaincodeArgs, InstallChaincodeResult, LocalPackage,
        QueryChaincodeDefinitionArgs, QueryChaincodeDefinitionResult, QueryInstalledChaincodesArgs,
        QueryInstalledChaincodesResult, Source,
    },
};
use prost::Message;
use std::collections::BTreeMap;

const LIFECYCLE: &str = "_lifecycle";

/// What a channel has committed of a chaincode, as a peer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    /// Counts the definitions of this chaincode, from 1.
    pub(super) sequence: i64,
    pub(super) version: String,
    /// Whether it has approved this definition, by MSP id. The peers of who has not do not endorse.
    pub(super) approvals: BTreeMap<String, bool>,
}

impl Peer {
    /// The ids of the packages that it has.
    pub(super) async fn installed(&self) -> Result<Vec<String>, CallError> {
        let question = QueryInstalledChaincodesArgs {}.encode_to_vec();
        let found: QueryInstalledChaincodesResult = self
            .ask(("", LIFECYCLE), "QueryInstalledChaincodes", &[&question], ANSWER)
            .await?;
        Ok(found
            .installed_chaincodes
            .into_iter()
            .map(|chaincode| chaincode.package_id)
            .collect())
    }

    /// Installs a package; returns its id. A package that it has already is installed.
    pub(super) async fn install(&self, chaincode: &Chaincode, package: Vec<u8>) -> Result<(), CallError> {
        let arguments = InstallChaincodeArgs {
            chaincode_install_package: package,
        }
        .encode_to_vec();
        let installed: Result<InstallChaincodeResult, _> = self
            .ask(("", LIFECYCLE), "InstallChaincode", &[&arguments], ACTION)
            .await;
        match installed {
            Ok(installed) if installed.package_id == chaincode.package_id => Ok(()),
            Ok(other) => Err(CallError::Refused(format!(
                "it calls the package {}, not {}",
                other.package_id, chaincode.package_id
            ))),
            Err(CallError::Refused(why)) if why.contains("already successfully installed") => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Who has approved what shall be committed as the next definition, by MSP id.
    pub(super) async fn approvals(
        &self,
        channel: &str,
        chaincode: &Chaincode,
        sequence: i64,
    ) -> Result<BTreeMap<String, bool>, CallError> {
        let question = definition(chaincode, sequence);
        let answer: CheckCommitReadinessResult = self
            .ask((channel, LIFECYCLE), "CheckCommitReadiness", &[&question], ANSWER)
            .await?;
        Ok(answer.approvals)
    }

    /// The present definition. `None`: there is none yet.
    pub(super) async fn definition(
        &self,
        channel: &str,
        chaincode: &Chaincode,
    ) -> Result<Option<Definition>, CallError> {
        let question = QueryChaincodeDefinitionArgs {
            name: chaincode.name.clone(),
        }
        .encode_to_vec();
        let answer: Result<QueryChaincodeDefinitionResult, _> = self
            .ask(
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

    /// The approval of a definition by this peer's organisation, to be endorsed.
    pub(super) fn approval(&self, channel: &str, chaincode: &Chaincode, sequence: i64) -> Proposal {
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

    /// The commit of a definition, to be endorsed by a majority of the organisations.
    pub(super) fn commit(&self, channel: &str, chaincode: &Chaincode, sequence: i64) -> Proposal {
        Proposal::new(
            &self.identity,
            channel,
            LIFECYCLE,
            "CommitChaincodeDefinition",
            &[&definition(chaincode, sequence)],
        )
    }
}

/// A definition, as it is asked for and committed.
fn definition(chaincode: &Chaincode, sequence: i64) -> Vec<u8> {
    let Chaincode { name, version, .. } = chaincode;
    CommitChaincodeDefinitionArgs {
        sequence,
        name: name.clone(),
        version: version.clone(),
    }
    .encode_to_vec()
}
