//! Query and path of the URL, parsed as strictly as bodies.

use crate::{
    body::field_error,
    error::{ApiError, ApiResult},
};
use axum::extract::{FromRequestParts, path::Path as AxumPath};
use chainpool_orchestrator::Error;
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The query, without unknown parameters.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let text = std::error::Error::source(&rejection)
                    .map_or_else(|| rejection.body_text(), ToString::to_string);
                let (path, why) = text.split_once(": ").unwrap_or((".", text.as_str()));
                Err(field_error(path, why))
            }
        }
    }
}

/// The path parameters.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match AxumPath::<T>::from_request_parts(parts, state).await {
            Ok(AxumPath(path)) => Ok(Self(path)),
            Err(rejection) => Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "route_not_found",
                rejection.body_text(),
            )),
        }
    }
}

/// Parses an id; an invalid id is reported as not found.
pub(crate) fn id(noun: &'static str, text: &str) -> ApiResult<Uuid> {
    text.parse().map_err(|_| Error::not_found(noun, text).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::{ClusterFilter, HostFilter, OperationFilter, Problem};

    async fn query<T: DeserializeOwned>(uri: &str) -> Result<T, Problem> {
        let (mut parts, ()) = http::Request::builder().uri(uri).body(()).unwrap().into_parts();
        match Query::<T>::from_request_parts(&mut parts, &()).await {
            Ok(Query(value)) => Ok(value),
            Err(error) => {
                assert_eq!(error.status(), StatusCode::BAD_REQUEST);
                Err(error.problem("r"))
            }
        }
    }

    #[tokio::test]
    async fn a_query_is_parsed_into_the_filter() {
        let filter: ClusterFilter = query("/c?offered=true&limit=7&state=ready&search=a%20b")
            .await
            .unwrap();
        assert_eq!(
            (filter.offered, filter.limit, filter.search.as_deref()),
            (Some(true), Some(7), Some("a b"))
        );
        assert_eq!(
            filter.state.map(chainpool_api::ClusterState::as_str),
            Some("ready")
        );
    }

    #[tokio::test]
    async fn a_query_error_names_the_field_and_the_valid_values() {
        for (uri, field, why) in [
            ("/c?limit=many", "limit", "invalid digit"),
            ("/c?limit=0", "limit", "not between 1 and 500"),
            ("/c?limit=501", "limit", "not between 1 and 500"),
            ("/c?state=fine", "state", "creating"),
            ("/c?offered=yes", "offered", "`true` or `false`"),
            ("/c?colour=red", "colour", "use one of"),
        ] {
            let problem = query::<ClusterFilter>(uri).await.unwrap_err();
            assert!(
                problem
                    .fields
                    .get(field)
                    .is_some_and(|message| message.contains(why)),
                "{uri}: {:?}",
                problem.fields
            );
        }
        let problem = query::<OperationFilter>("/o?parent=x").await.unwrap_err();
        assert!(problem.fields.contains_key("parent"), "{:?}", problem.fields);
        let problem = query::<HostFilter>("/h?limit=1&limit=2").await.unwrap_err();
        assert!(problem.fields.contains_key("limit"), "{:?}", problem.fields);
    }

    #[test]
    fn an_invalid_id_is_not_found() {
        let problem = id("lease", "nope").unwrap_err().problem("r");
        assert_eq!(problem.code, "lease_not_found");
    }
}
