//! Channel participation API of orderers: `/participation/v1` on the admin port.
//!
//! Its channel status is not used: it is "active" even with the quorum lost.

use crate::{
    client::{call::CallError, http::Http},
    fabric::{
        client::{access::Access, control::Control},
        model::ports::ADMIN,
    },
};
use bytes::Bytes;
use chainpool_agent::NodeName;
use http::StatusCode;
use serde::Deserialize;

const CHANNELS: &str = "/participation/v1/channels";

/// A connection to an orderer's admin port.
pub(crate) struct Participation(Http);

#[derive(Deserialize)]
struct List {
    /// Absent or null if there is none.
    channels: Option<Vec<Name>>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Info {
    height: u64,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Participation {
    /// Connects to an orderer.
    pub(crate) async fn connect(access: &Access, orderer: &NodeName) -> Result<Self, CallError> {
        Ok(Self(Control::connect(access, orderer, ADMIN).await?.http))
    }

    /// The channels that the orderer has joined.
    pub(crate) async fn list(&mut self) -> Result<Vec<String>, CallError> {
        match self.0.get(CHANNELS).await? {
            (StatusCode::OK, body) => {
                let list: List = serde_json::from_slice(&body)
                    .map_err(|e| CallError::Refused(format!("cannot read the list of channels: {e}")))?;
                Ok(list
                    .channels
                    .unwrap_or_default()
                    .into_iter()
                    .map(|channel| channel.name)
                    .collect())
            }
            (status, body) => Err(refused(status, &body)),
        }
    }

    /// Height of a channel; also of channels that it only follows, which its metrics lack.
    pub(crate) async fn height(&mut self, channel: &str) -> Result<u64, CallError> {
        match self.0.get(&format!("{CHANNELS}/{channel}")).await? {
            (StatusCode::OK, body) => {
                let info: Info = serde_json::from_slice(&body)
                    .map_err(|e| CallError::Refused(format!("cannot read the height of {channel}: {e}")))?;
                Ok(info.height)
            }
            (status, body) => Err(refused(status, &body)),
        }
    }

    /// Joins a channel by its genesis block. Idempotent.
    pub(crate) async fn join(&mut self, block: &[u8]) -> Result<(), CallError> {
        let boundary = format!("chainpool-{:032x}", rand::random::<u128>());
        let kind = format!("multipart/form-data; boundary={boundary}");
        let (status, body) = self.0.post(CHANNELS, &kind, form(&boundary, block)).await?;
        if status == StatusCode::CREATED || is_joined_already(status, &body) {
            return Ok(());
        }
        Err(refused(status, &body))
    }
}

/// The multipart form of a join request.
fn form(boundary: &str, block: &[u8]) -> Bytes {
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"config-block\"; filename=\"config.block\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    [
        head.as_bytes(),
        block,
        format!("\r\n--{boundary}--\r\n").as_bytes(),
    ]
    .concat()
    .into()
}

fn is_joined_already(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::METHOD_NOT_ALLOWED && reason(body).contains("channel already exists")
}

fn refused(status: StatusCode, body: &[u8]) -> CallError {
    CallError::Refused(format!("{} {}", status.as_u16(), reason(body)))
}

fn reason(body: &[u8]) -> String {
    serde_json::from_slice(body).map_or_else(
        |_| String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
        |refusal: Refusal| refusal.error,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repeated_join_counts_as_joined() {
        let refusal = |text: &str| format!(r#"{{"error":"{text}"}}"#).into_bytes();
        let not_allowed = StatusCode::METHOD_NOT_ALLOWED;
        assert!(is_joined_already(
            not_allowed,
            &refusal("cannot join: channel already exists")
        ));
        assert!(!is_joined_already(
            not_allowed,
            &refusal("cannot join: system channel exists")
        ));
        assert!(!is_joined_already(
            StatusCode::BAD_REQUEST,
            &refusal("cannot join: channel already exists")
        ));
        let refused = refused(StatusCode::BAD_REQUEST, &refusal("invalid join block"));
        assert_eq!(refused, CallError::Refused("400 invalid join block".to_owned()));
    }

    #[test]
    fn the_form_has_one_part() {
        let form = form("b", &[0, 255]);
        assert!(form.starts_with(b"--b\r\nContent-Disposition: form-data; name=\"config-block\";"));
        assert!(form.ends_with(b"\r\n\r\n\x00\xff\r\n--b--\r\n"));
    }

    #[test]
    fn a_list_without_channels_is_empty() {
        let list: List = serde_json::from_str(r#"{"systemChannel":null,"channels":null}"#).expect("readable");
        assert!(list.channels.is_none());
    }
}
