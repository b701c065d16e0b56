//! A port that cannot be reached says why not.

use crate::yard::{free_port, key, name, yard};
use anyhow::ensure;
use chainpool_agent::{Agent, Audience, Error, Port, Protocol};

fn port(published: Option<u16>, protocol: Protocol) -> Port {
    Port {
        name: "rpc".into(),
        inside: 7,
        protocol,
        audience: Audience::User,
        published,
    }
}

#[test]
fn a_port_that_cannot_be_reached_says_why() {
    yard(async |yard| {
        let (key, v0) = (key(), name("v0"));
        for port in [port(None, Protocol::Tcp), port(Some(9), Protocol::Udp)] {
            let error = yard.agent.dial(&key, &v0, &port).await.err();
            ensure!(matches!(error, Some(Error::Unsupported(_))), "{error:?}");
        }
        let error = yard
            .agent
            .dial(&key, &v0, &port(Some(free_port()), Protocol::Tcp))
            .await
            .err();
        ensure!(
            matches!(&error, Some(Error::Unreachable(text)) if text.contains("v0")),
            "{error:?}"
        );
        Ok(())
    });
}
