//! System chaincode `_lifecycle` of a peer: chaincode packages and definitions.

use crate::{
    client::call::{ACTION, ANSWER, CallError},
    fabric::{
        client::endorser::{Peer, Proposal},
        model::Chaincode,
        proto::lifecycle::{
            ApprovalSource, ChaincodeSource, CheckCommitReadinessResult, CommitChaincodeDefinitionArgs,
            InstallChaincodeArgs, InstallChaincodeResult, LocalPackage, QueryChaincodeDefinitionArgs,
            QueryChaincodeDefinitionResult, QueryInstalledChaincodesArgs, QueryInstalledChaincodesResult,
            Source,
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
    pub(crate) settings: DefinitionSettings,
    /// Approvals by MSP id. Peers of organisations without approval do not endorse.
    pub(crate) approvals: BTreeMap<String, bool>,
}

/// The part of a definition that Chainpool takes over from the committed one: only users change it, by
/// definitions of their own. Empty fields are Fabric's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DefinitionSettings {
    pub(crate) endorsement_plugin: String,
    pub(crate) validation_plugin: String,
    /// The endorsement policy, an encoded `protos.ApplicationPolicy`.
    pub(crate) validation_parameter: Vec<u8>,
    /// An encoded `protos.CollectionConfigPackage`.
    pub(crate) collections: Option<Vec<u8>>,
    /// The chaincode must be initialized before other calls.
    pub(crate) init_required: bool,
}

/// A definition to approve or commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestedDefinition<'a> {
    pub(crate) chaincode: &'a Chaincode,
    pub(crate) sequence: i64,
    pub(crate) settings: DefinitionSettings,
}

impl From<QueryChaincodeDefinitionResult> for Definition {
    fn from(answer: QueryChaincodeDefinitionResult) -> Self {
        let QueryChaincodeDefinitionResult {
            sequence,
            version,
            endorsement_plugin,
            validation_plugin,
            validation_parameter,
            collections,
            init_required,
            approvals,
        } = answer;
        let settings = DefinitionSettings {
            endorsement_plugin,
            validation_plugin,
            validation_parameter,
            collections,
            init_required,
        };
        Self {
            sequence,
            version,
            settings,
            approvals,
        }
    }
}

impl<'a> RequestedDefinition<'a> {
    /// The definition of a chaincode that a channel should have: the committed one, or the next one in another
    /// version with the same settings. `None`: the users manage the committed one, and its approvals, also for
    /// organisations that join later.
    pub(crate) fn after(chaincode: &'a Chaincode, committed: Option<&Definition>) -> Option<Self> {
        let Some(committed) = committed else {
            return Some(Self {
                chaincode,
                sequence: 1,
                settings: DefinitionSettings::default(),
            });
        };
        if chaincode.is_user_defined(&committed.version) && !chaincode.overrides {
            return None;
        }
        let is_other = committed.version != chaincode.version;
        Some(Self {
            chaincode,
            sequence: committed.sequence + i64::from(is_other),
            settings: committed.settings.clone(),
        })
    }

    /// Arguments of an approval with our package: the definition's fields and one more, in one message.
    fn approval(&self) -> Vec<u8> {
        let package = LocalPackage {
            package_id: self.chaincode.package_id.clone(),
        };
        let source = ApprovalSource {
            source: Some(ChaincodeSource {
                r#type: Some(Source::LocalPackage(package)),
            }),
        };
        [self.definition(), source.encode_to_vec()].concat()
    }

    /// Arguments of readiness checks and commits.
    fn definition(&self) -> Vec<u8> {
        let Self {
            chaincode,
            sequence,
            settings,
        } = self;
        let DefinitionSettings {
            endorsement_plugin,
            validation_plugin,
            validation_parameter,
            collections,
            init_required,
        } = settings.clone();
        CommitChaincodeDefinitionArgs {
            sequence: *sequence,
            name: chaincode.name.clone(),
            version: chaincode.version.clone(),
            endorsement_plugin,
            validation_plugin,
            validation_parameter,
            collections,
            init_required,
        }
        .encode_to_vec()
    }
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
        next: &RequestedDefinition<'_>,
    ) -> Result<BTreeMap<String, bool>, CallError> {
        let question = next.definition();
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
            Ok(found) => Ok(Some(found.into())),
            Err(CallError::Refused(why)) if why.contains("is not defined") => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Proposal to approve a definition for this peer's organisation.
    pub(crate) fn approval(&self, channel: &str, definition: &RequestedDefinition<'_>) -> Proposal {
        Proposal::new(
            &self.identity,
            channel,
            LIFECYCLE,
            "ApproveChaincodeDefinitionForMyOrg",
            &[&definition.approval()],
        )
    }

    /// Proposal to commit a definition; needs endorsements of a majority of the organisations.
    pub(crate) fn commit(&self, channel: &str, definition: &RequestedDefinition<'_>) -> Proposal {
        Proposal::new(
            &self.identity,
            channel,
            LIFECYCLE,
            "CommitChaincodeDefinition",
            &[&definition.definition()],
        )
    }
}

#[cfg(test)]
#[path = "definitions_tests.rs"]
mod tests;
