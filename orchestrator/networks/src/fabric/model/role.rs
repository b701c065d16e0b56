//! Roles of nodes.

/// Role of Fabric CAs in image overrides and evidence.
pub(crate) const CA: &str = "ca";

/// Role of an organisation's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Orderer,
    Peer,
}

impl Role {
    /// Organisational unit of their certificates and name of their images.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Orderer => "orderer",
            Self::Peer => "peer",
        }
    }
}
