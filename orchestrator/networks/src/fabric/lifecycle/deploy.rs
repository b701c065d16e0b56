//! Deploys chaincodes: every peer installs the package, every organisation approves the definition, the
//! channel commits it. Another version is the next definition of the same package.

use crate::{
    InitError,
    client::call::CallError,
    fabric::{
        client::{
            access::Access, definitions::RequestedDefinition, endorser::Peer, orderer::newest_config,
            transaction::submit,
        },
        lifecycle::failures::all,
        model::{Chaincode, Organisation},
    },
    retry::{until, until_responsive},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all, try_join_all},
};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Deploys every chaincode on every channel. Idempotent.
pub(crate) async fn chaincodes(access: &Access) -> Result<(), InitError> {
    let installs = access
        .peers()
        .map(|(_, node)| install_all(access, node))
        .collect::<Vec<_>>();
    all(join_all(installs).await)?;
    let pairs = access
        .model
        .channels
        .iter()
        .flat_map(|channel| access.model.chaincodes.iter().map(move |code| (channel, code)));
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

/// Installs missing packages on a peer.
fn install_all<'a>(access: &'a Access, node: &'a NodeName) -> BoxFuture<'a, Result<(), CallError>> {
    let deadline = Instant::now() + access.policy().propagation;
    let attempt = move || async move {
        let peer = Peer::connect(access, node).await?;
        let installed = peer.installed().await?;
        for chaincode in access
            .model
            .chaincodes
            .iter()
            .filter(|code| !installed.contains(&code.package_id))
        {
            let package = BASE64
                .decode(&chaincode.package)
                .map_err(|e| CallError::Refused(format!("cannot read the stored package: {e}")))?;
            peer.install(chaincode, package)
                .await
                .map_err(|e| e.of(&chaincode.name))?;
        }
        Ok(())
    };
    async move { until_responsive(deadline, attempt).await.map_err(|e| e.of(node)) }.boxed()
}

/// Has each organisation approve a chaincode, and commits it. A version other than the current one is the
/// next definition. Organisations that joined later approve the committed definition, or their peers do not
/// endorse. A definition by the network's users stays unless another version was requested, and its settings
/// stay in any case.
async fn define(access: &Access, channel: &str, chaincode: &Chaincode) -> Result<(), CallError> {
    let endorsers = try_join_all(
        access
            .model
            .organisations
            .iter()
            .map(|organisation| endorser(access, organisation)),
    )
    .await?;
    let Some(first) = endorsers.first() else {
        return Ok(());
    };
    let deadline = Instant::now() + access.policy().propagation;
    let height = until(deadline, || newest_config(access, channel)).await?.newest + 1;
    // A new peer knows neither definitions nor its own organisation before it has caught up.
    let caught_up = |peer: &'_ Peer| {
        let peer = peer.clone();
        async move {
            until(deadline, || peer.has(channel, height))
                .await
                .map_err(|e| e.of(&peer.node))
        }
    };
    try_join_all(endorsers.iter().map(caught_up)).await?;
    let committed = first
        .definition(channel, chaincode)
        .await
        .map_err(|e| e.of(&first.node))?;
    let Some(requested) = RequestedDefinition::after(chaincode, committed.as_ref()) else {
        return Ok(());
    };
    let deployment = Deployment {
        access,
        channel,
        requested: &requested,
    };
    if committed.is_none_or(|committed| committed.sequence < requested.sequence) {
        deployment.commit(first, &endorsers).await?;
    }
    try_join_all(endorsers.iter().map(|peer| deployment.approve_committed(peer)))
        .await
        .map(drop)
}

/// The first responsive peer of an organisation.
async fn endorser(access: &Access, organisation: &Organisation) -> Result<Peer, CallError> {
    let mut last = CallError::Unavailable(format!("{} has no peer", organisation.name));
    for node in &organisation.nodes {
        match Peer::connect(access, node).await {
            Ok(peer) => return Ok(peer),
            Err(e) => last = e.of(node),
        }
    }
    Err(last)
}

/// A definition on its way to a channel.
#[derive(Clone, Copy)]
struct Deployment<'a> {
    access: &'a Access,
    channel: &'a str,
    requested: &'a RequestedDefinition<'a>,
}

impl Deployment<'_> {
    /// Has each organisation approve the next definition, and commits it.
    async fn commit(self, first: &Peer, endorsers: &[Peer]) -> Result<(), CallError> {
        try_join_all(endorsers.iter().map(|peer| self.approve(peer))).await?;
        let deadline = Instant::now() + self.access.policy().propagation;
        try_join_all(
            endorsers
                .iter()
                .map(|peer| until(deadline, move || self.approved_by_all(peer))),
        )
        .await?;
        submit(
            self.access,
            self.channel,
            &first.commit(self.channel, self.requested),
            &endorsers.iter().collect::<Vec<_>>(),
        )
        .await
    }

    /// Has an organisation approve the definition if it has not.
    async fn approve(self, peer: &Peer) -> Result<(), CallError> {
        let approvals = peer
            .approvals(self.channel, self.requested)
            .await
            .map_err(|e| e.of(&peer.node))?;
        if is_approved(&approvals, &peer.identity.msp) {
            return Ok(());
        }
        self.submit_approval(peer, self.requested).await
    }

    /// Checks that a peer knows all approvals. Otherwise its endorsement of the commit differs from the
    /// others.
    async fn approved_by_all(self, peer: &Peer) -> Result<(), CallError> {
        let approvals = peer
            .approvals(self.channel, self.requested)
            .await
            .map_err(|e| e.of(&peer.node))?;
        let has_not = |organisation: &&Organisation| !is_approved(&approvals, &organisation.msp);
        match self.access.model.organisations.iter().find(has_not) {
            None => Ok(()),
            Some(organisation) => Err(CallError::Refused(format!(
                "{} has not received the approval of {}",
                peer.node, organisation.name
            ))),
        }
    }

    /// Waits until a peer has the committed definition, and has its organisation approve it if it has not.
    async fn approve_committed(self, peer: &Peer) -> Result<(), CallError> {
        let chaincode = self.requested.chaincode;
        let known = until(Instant::now() + self.access.policy().propagation, || async {
            let known = peer
                .definition(self.channel, chaincode)
                .await
                .map_err(|e| e.of(&peer.node))?;
            let late =
                || CallError::Unavailable(format!("{} has not received the definition yet", peer.node));
            known
                .filter(|known| known.sequence >= self.requested.sequence)
                .ok_or_else(late)
        });
        let known = known.await?;
        // Users may have committed a definition in another version meanwhile; they manage its approvals.
        if known.version != chaincode.version || is_approved(&known.approvals, &peer.identity.msp) {
            return Ok(());
        }
        match RequestedDefinition::after(chaincode, Some(&known)) {
            Some(committed) => self.submit_approval(peer, &committed).await,
            None => Ok(()),
        }
    }

    async fn submit_approval(
        self,
        peer: &Peer,
        definition: &RequestedDefinition<'_>,
    ) -> Result<(), CallError> {
        let approval = peer.approval(self.channel, definition);
        submit(self.access, self.channel, &approval, &[peer]).await
    }
}

/// Returns true if the organisation with this MSP id has approved.
fn is_approved(approvals: &BTreeMap<String, bool>, msp: &str) -> bool {
    approvals.get(msp).copied().unwrap_or_default()
}
