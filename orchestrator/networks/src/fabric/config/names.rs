//! Names of elements of a channel's configuration.

/// Policy for changes of elements without another policy.
pub(crate) const ADMINS: &str = "Admins";

/// Names of the configuration groups of the orderers and of the peers' organisations.
pub(crate) const ORDERER: &str = "Orderer";
pub(crate) const APPLICATION: &str = "Application";

/// Values that control when a block is cut.
pub(crate) const BATCH_SIZE: &str = "BatchSize";
pub(crate) const BATCH_TIMEOUT: &str = "BatchTimeout";

/// Name of the consensus value; with Raft it also holds the consenters.
pub(crate) const CONSENSUS: &str = "ConsensusType";

/// Name of the block validation policy.
pub(crate) const BLOCK_VALIDATION: &str = "BlockValidation";

/// Fabric's name of Raft.
pub(crate) const RAFT: &str = "etcdraft";

/// Name of the value with the addresses of an organisation's orderers.
pub(crate) const ENDPOINTS: &str = "Endpoints";
