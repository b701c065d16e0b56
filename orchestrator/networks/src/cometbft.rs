//! `CometBFT`: placeholder until the helper's module lands.
pub(crate) struct CometBft;
