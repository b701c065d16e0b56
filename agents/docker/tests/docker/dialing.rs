//! Errors of unreachable ports.

use crate::fixture::{free_port, key, name, with_fixture};
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
fn an_unreachable_port_is_an_error_with_the_reason() {
    with_fixture(async |fixture| {
        let (key, v0) = (key(), name("v0"));
        for port in [port(None, Protocol::Tcp), port(Some(9), Protocol::Udp)] {
            let error = fixture.agent.dial(&key, &v0, &port).await.err();
            ensure!(matches!(error, Some(Error::Unsupported(_))), "{error:?}");
        }
        let error = fixture
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
