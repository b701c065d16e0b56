//! Making objects what they shall be: server-side apply under one name, and never on what is not ours.

use crate::server::{CALL, Fault, Server};
use chainpool_agent::{Error, Labels, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::HashMap, fmt::Debug};

/// Under this name the server keeps which fields are ours.
pub(crate) const MANAGER: &str = "chainpool";

/// An object of Kubernetes that lies in a namespace.
pub(crate) trait Part:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}
impl<K> Part for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// The labels of an object, when they are Chainpool's.
pub(crate) fn labels_of(object: &impl ResourceExt) -> Option<Labels> {
    let map: HashMap<String, String> = object.labels().clone().into_iter().collect();
    Labels::from_map(&map)
}

/// How people find an object: `service cp-1-2/v0`.
pub(crate) fn title<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    let (namespace, name) = (
        meta.namespace.as_deref(),
        meta.name.as_deref().unwrap_or_default(),
    );
    let kind = K::kind(&());
    namespace.map_or_else(
        || format!("{kind} {name}"),
        |namespace| format!("{kind} {namespace}/{name}"),
    )
}

impl Server {
    /// The object of that name, if it is there; one that does not carry the wanted object's labels, but for the hash, is
    /// an error.
    pub(crate) async fn find<K: Part>(&self, wanted: &K) -> Result<Option<K>> {
        let api: Api<K> = self.within(&wanted.namespace().unwrap_or_default())?;
        let found = self
            .call(CALL, api.get_opt(&wanted.name_any()))
            .await
            .map_err(|f| f.into_error(&format!("show {}", title(wanted))))?;
        let plain = |object: &K| labels_of(object).map(|labels| Labels { hash: None, ..labels });
        match found {
            Some(found) if plain(&found) != plain(wanted) => Err(Error::Foreign(title(wanted))),
            found => Ok(found),
        }
    }

    /// Makes an object, or makes ours what it shall be.
    pub(crate) async fn apply<K: Part>(&self, wanted: &K) -> Result<()> {
        let found = self.find(wanted).await?;
        self.apply_over(wanted, found.as_ref())
            .await
            .map_err(|f| f.into_error(&format!("make {}", title(wanted))))
    }

    /// Makes an object where none is; one of ours is taken as it is.
    pub(crate) async fn adopt<K: Part>(&self, wanted: &K) -> Result<()> {
        match self.find(wanted).await? {
            Some(_) => Ok(()),
            None => self
                .apply_over(wanted, None)
                .await
                .map_err(|f| f.into_error(&format!("make {}", title(wanted)))),
        }
    }

    /// Applies, given what was found. With an object the server is told its identity: another that came in its place is
    /// not touched. Without one our fields are not forced on whatever came meanwhile.
    pub(crate) async fn apply_over<K: Part>(&self, wanted: &K, found: Option<&K>) -> Result<(), Fault> {
        let mut wanted = wanted.clone();
        let mut params = PatchParams::apply(MANAGER);
        if let Some(found) = found {
            wanted.meta_mut().uid = found.uid();
            params = params.force();
        }
        self.patch(&wanted, &params).await
    }

    /// Applies without a look: for secrets, which Chainpool may write but not read, under names made from their content.
    pub(crate) async fn apply_blindly<K: Part>(&self, wanted: &K) -> Result<()> {
        self.patch(wanted, &PatchParams::apply(MANAGER).force())
            .await
            .map_err(|f| f.into_error(&format!("make {}", title(wanted))))
    }

    /// Asks for metadata back, so that no content comes over the wire again.
    async fn patch<K: Part>(&self, wanted: &K, params: &PatchParams) -> Result<(), Fault> {
        let api: Api<K> = self.within(&wanted.namespace().unwrap_or_default())?;
        self.call(
            CALL,
            api.patch_metadata(&wanted.name_any(), params, &Patch::Apply(wanted)),
        )
        .await
        .map(drop)
    }
}
