//! Chaincodes: every peer installs the package, every organisation approves the definition, the channel commits it. Another
//! version is the next definition of the same package.

use super::{
    access::Access,
    connect::CallError,
    endorser::Peer,
    facts::{Chaincode, Organisation},
    init::all,
    orderer::configured,
    patience::{until, until_it_answers},
    transaction::submit,
};
use crate::InitError;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all, try_join_all},
};
use std::time::Duration;
use tokio::time::Instant;

/// How long a peer is given to answer, and what it has to reach the others.
const SPREAD: Duration = Duration::from_secs(10);

/// Deploys every chaincode on every channel. What is done already is skipped.
pub(super) async fn chaincodes(access: &Access) -> Result<(), InitError> {
    let installs = access
        .peers()
        .map(|(_, node)| install_all(access, node))
        .collect::<Vec<_>>();
    all(join_all(installs).await)?;
    let pairs = access
        .facts
        .channels
        .iter()
        .flat_map(|channel| access.facts.chaincodes.iter().map(move |code| (channel, code)));
    let definitions = pairs.map(|(channel, chaincode)| -> BoxFuture<'_, Result<(), CallError>> {
        async move {
            let of = format!("chaincode {} on {}", chaincode.name, channel.name);
            define(access, &channel.name, chaincode)
                .await
                .map_err(|e| e.of(&of))
        }
        .boxed()
    });
    all(join_all(definitions.collect::<Vec<_>>()).await)
}

/// A peer installs the packages that it lacks.
fn install_all<'a>(access: &'a Access, node: &'a NodeName) -> BoxFuture<'a, Result<(), CallError>> {
    let deadline = Instant::now() + SPREAD;
    let attempt = move || async move {
        let peer = Peer::connect(access, node).await?;
        let installed = peer.installed().await?;
        for chaincode in access
            .facts
            .chaincodes
            .iter()
            .filter(|code| !installed.contains(&code.package_id))
        {
            let package = BASE64
                .decode(&chaincode.package)
                .map_err(|e| CallError::Refused(format!("the stored package: {e}")))?;
            peer.install(chaincode, package)
                .await
                .map_err(|e| e.of(&chaincode.name))?;
        }
        Ok(())
    };
    async move { until_it_answers(deadline, attempt).await.map_err(|e| e.of(node)) }.boxed()
}

/// Has a chaincode approved by each organisation and committed. Another version than the present one is the next definition. Who came
/// later approves what is committed, without which its peers do not endorse. What the network's users defined themselves stays,
/// unless another version was asked for.
async fn define(access: &Access, channel: &str, chaincode: &Chaincode) -> Result<(), CallError> {
    let endorsers = try_join_all(
        access
            .facts
            .organisations
            .iter()
            .map(|organisation| endorser(access, organisation)),
    )
    .await?;
    let Some(first) = endorsers.first() else {
        return Ok(());
    };
    let deadline = Instant::now() + SPREAD;
    let height = until(deadline, || configured(access, channel)).await?.newest + 1;
    // One that has just come knows neither definitions nor its own organisation before.
    let caught_up = |peer: &'_ Peer| {
        let peer = peer.clone();
        async move {
            until(deadline, || peer.has(channel, height))
                .await
                .map_err(|e| e.of(&peer.node))
        }
    };
    try_join_all(endorsers.iter().map(caught_up)).await?;
    let present = first
        .definition(channel, chaincode)
        .await
        .map_err(|e| e.of(&first.node))?;
    let sequence = match present {
        // Their organisations approved it, in a way that is not ours to know; who comes later is theirs to ask.
        Some(present) if chaincode.is_users_own(&present.version) && !chaincode.overrides => return Ok(()),
        Some(present) if present.version == chaincode.version => present.sequence,
        present => {
            let next = present.map_or(1, |present| present.sequence + 1);
            let stage = Stage {
                access,
                channel,
                chaincode,
                sequence: next,
            };
            try_join_all(endorsers.iter().map(|peer| stage.approve(peer))).await?;
            let deadline = Instant::now() + SPREAD;
            try_join_all(
                endorsers
                    .iter()
                    .map(|peer| until(deadline, move || stage.approved_by_all(peer))),
            )
            .await?;
            submit(
                access,
                channel,
                &first.commit(channel, chaincode, next),
                &endorsers.iter().collect::<Vec<_>>(),
            )
            .await?;
            next
        }
    };
    let stage = Stage {
        access,
        channel,
        chaincode,
        sequence,
    };
    try_join_all(endorsers.iter().map(|peer| stage.follow(peer)))
        .await
        .map(drop)
}

/// The first peer of an organisation that answers.
async fn endorser(access: &Access, organisation: &Organisation) -> Result<Peer, CallError> {
    let mut last = CallError::Silent(format!("{} has no peer", organisation.name));
    for node in &organisation.nodes {
        match Peer::connect(access, node).await {
            Ok(peer) => return Ok(peer),
            Err(e) => last = e.of(node),
        }
    }
    Err(last)
}

/// One definition on its way.
#[derive(Clone, Copy)]
struct Stage<'a> {
    access: &'a Access,
    channel: &'a str,
    chaincode: &'a Chaincode,
    sequence: i64,
}

impl Stage<'_> {
    /// An organisation approves what shall be committed, unless it has.
    async fn approve(self, peer: &Peer) -> Result<(), CallError> {
        let approvals = peer
            .approvals(self.channel, self.chaincode, self.sequence)
            .await
            .map_err(|e| e.of(&peer.node))?;
        if approvals.get(&peer.identity.msp).copied().unwrap_or_default() {
            return Ok(());
        }
        submit(
            self.access,
            self.channel,
            &peer.approval(self.channel, self.chaincode, self.sequence),
            &[peer],
        )
        .await
    }

    /// Whether a peer knows that all have approved: only then does its endorsement of the commit fit that of the others.
    async fn approved_by_all(self, peer: &Peer) -> Result<(), CallError> {
        let approvals = peer
            .approvals(self.channel, self.chaincode, self.sequence)
            .await
            .map_err(|e| e.of(&peer.node))?;
        let has_not =
            |organisation: &&Organisation| !approvals.get(&organisation.msp).copied().unwrap_or_default();
        match self.access.facts.organisations.iter().find(has_not) {
            None => Ok(()),
            Some(organisation) => Err(CallError::Refused(format!(
                "{} does not know the approval of {}",
                peer.node, organisation.name
            ))),
        }
    }

    /// Waits until a peer knows what was committed, and has its organisation approve that, unless it has.
    async fn follow(self, peer: &Peer) -> Result<(), CallError> {
        let known = until(Instant::now() + SPREAD, || async {
            let known = peer
                .definition(self.channel, self.chaincode)
                .await
                .map_err(|e| e.of(&peer.node))?;
            let late = || CallError::Silent(format!("{} does not know it yet", peer.node));
            known
                .filter(|known| known.sequence >= self.sequence)
                .ok_or_else(late)
        });
        if known
            .await?
            .approvals
            .get(&peer.identity.msp)
            .copied()
            .unwrap_or_default()
        {
            return Ok(());
        }
        submit(
            self.access,
            self.channel,
            &peer.approval(self.channel, self.chaincode, self.sequence),
            &[peer],
        )
        .await
    }
}
