//! Server-side apply under one field manager, on objects of this instance only.

use crate::server::{CALL, CallError, Server};
use chainpool_agent::{Error, Labels, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::HashMap, fmt::Debug};

/// The field manager under which the API server tracks our fields.
pub(crate) const FIELD_MANAGER: &str = "chainpool";

/// A namespaced Kubernetes object.
pub(crate) trait NamespacedObject:
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
impl<K> NamespacedObject for K where
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

/// The Chainpool labels of an object, if it has them.
pub(crate) fn labels_of(object: &impl ResourceExt) -> Option<Labels> {
    let map: HashMap<String, String> = object.labels().clone().into_iter().collect();
    Labels::from_map(&map)
}

/// The display name of an object: `service cp-1-2/v0`.
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
    /// Returns the object of that name, if it exists. Labels that differ from the wanted ones, except the
    /// hash, make it [`Error::Foreign`].
    pub(crate) async fn find<K: NamespacedObject>(&self, wanted: &K) -> Result<Option<K>> {
        let api: Api<K> = self.within(&wanted.namespace().unwrap_or_default())?;
        let found = self
            .call(CALL, api.get_opt(&wanted.name_any()))
            .await
            .map_err(|f| f.into_error(&format!("get {}", title(wanted))))?;
        let plain = |object: &K| labels_of(object).map(|labels| Labels { hash: None, ..labels });
        match found {
            Some(found) if plain(&found) != plain(wanted) => Err(Error::Foreign(title(wanted))),
            found => Ok(found),
        }
    }

    /// Creates or updates an object.
    pub(crate) async fn apply<K: NamespacedObject>(&self, wanted: &K) -> Result<()> {
        let found = self.find(wanted).await?;
        self.apply_over(wanted, found.as_ref())
            .await
            .map_err(|f| f.into_error(&format!("apply {}", title(wanted))))
    }

    /// Creates an object if it is absent. An existing one of ours is left unchanged.
    pub(crate) async fn adopt<K: NamespacedObject>(&self, wanted: &K) -> Result<()> {
        match self.find(wanted).await? {
            Some(_) => Ok(()),
            None => self
                .apply_over(wanted, None)
                .await
                .map_err(|f| f.into_error(&format!("apply {}", title(wanted)))),
        }
    }

    /// Applies over the object that was found. Its uid goes into the patch, so that a replacement of it is
    /// not touched. If none was found, fields are not forced: an object created meanwhile causes a conflict.
    pub(crate) async fn apply_over<K: NamespacedObject>(
        &self,
        wanted: &K,
        found: Option<&K>,
    ) -> Result<(), CallError> {
        let mut wanted = wanted.clone();
        let mut params = PatchParams::apply(FIELD_MANAGER);
        if let Some(found) = found {
            wanted.meta_mut().uid = found.uid();
            params = params.force();
        }
        self.patch(&wanted, &params).await
    }

    /// Applies without reading first: for secrets, which Chainpool may write but not read. Their names derive
    /// from their content.
    pub(crate) async fn apply_unchecked<K: NamespacedObject>(&self, wanted: &K) -> Result<()> {
        self.patch(wanted, &PatchParams::apply(FIELD_MANAGER).force())
            .await
            .map_err(|f| f.into_error(&format!("apply {}", title(wanted))))
    }

    /// Requests only metadata in the response, so that the content is not sent back.
    async fn patch<K: NamespacedObject>(&self, wanted: &K, params: &PatchParams) -> Result<(), CallError> {
        let api: Api<K> = self.within(&wanted.namespace().unwrap_or_default())?;
        self.call(
            CALL,
            api.patch_metadata(&wanted.name_any(), params, &Patch::Apply(wanted)),
        )
        .await
        .map(drop)
    }
}
