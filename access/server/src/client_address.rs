//! The client's address, as determined by the listener.

use axum::extract::{ConnectInfo, FromRequestParts};
use http::{Extensions, request::Parts};
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

/// The client's address, for the limit on sign-in attempts.
pub(crate) struct ClientAddress(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(client(&parts.extensions).map_or_else(
            || "unknown".to_owned(),
            |address| address.to_string(),
        )))
    }
}

/// The client's address, as determined by the listener.
pub(crate) fn client(extensions: &Extensions) -> Option<IpAddr> {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip())
}
